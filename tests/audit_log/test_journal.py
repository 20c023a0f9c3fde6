"""Entries that wait for their hashes: they survive a killed process, go into the chain in order and once, and nothing else does."""

import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, Settings
from featurestore.audit_log.chain import Chain
from featurestore.audit_log.entry import Done, encode
from featurestore.audit_log.folder import LOCK, audit_path, list_segments
from featurestore.audit_log.journal import JOURNAL_BYTES, MOST_ENTRIES
from featurestore.audit_log.log import OPENED, AuditLog
from tests.audit_log.test_tampering import edit, flush, new_store, only_segment, problems, write
from tests.forked import fork_context


def members(number: int) -> bytes:
    """The encoded entry of a lookup."""
    return encode(Done("him", "POST /v1/services/{service}/online", objects=[f"services/s{number}"], status=200))


def write_soon(store: FeatureStore, count: int) -> AuditLog:
    """Open a chain, and write so many entries that get their hashes later."""
    log = AuditLog(store.settings)
    log.check()
    for number in range(count):
        log.record_soon(members(number))
    return log


def shown(store: FeatureStore) -> list[str]:
    """The objects of all entries of lookups, the newest first."""
    return [entry.objects[0] for entry in store.audit_log(principal="him", limit=1000)]


def expected(count: int) -> list[str]:
    """What `shown` returns after `write_soon`."""
    return [f"services/s{number}" for number in reversed(range(count))]


def journal_of(store: FeatureStore) -> Path:
    """The only journal."""
    (path,) = audit_path(store.settings).glob("*.journal")
    return path


def record_until_killed(settings: dict[str, Any], count: int, parent: Connection) -> None:
    """Write entries, say so, and wait."""
    with FeatureStore(settings=Settings(**settings)) as store:
        log = write_soon(store, count)
        parent.send(log.refusal is None)
        signal.pause()


def kill_after(store: FeatureStore, count: int) -> None:
    """Kill a process that has written so many entries."""
    context = fork_context()
    ours, theirs = context.Pipe(duplex=False)
    settings = {"home": store.settings.home_path(), "audit_log": "on"}
    process = context.Process(target=record_until_killed, args=(settings, count, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(60)
        assert ours.recv() is True
        os.kill(process.pid or 0, signal.SIGKILL)
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("count", [1, MOST_ENTRIES, 2 * MOST_ENTRIES + 5])
@pytest.mark.parametrize("continued", [True, False])
def test_what_waited_when_its_process_was_killed_is_in_the_chain_once(tmp_path: Path, count: int, continued: bool) -> None:
    with new_store(tmp_path) as store:
        kill_after(store, count)
        assert shown(store) == expected(count)
        assert problems(store) == []
        if continued:
            log = AuditLog(store.settings)
            log.check()
            log.close()
        assert flush(store) == count + 1 + continued, "also of a chain that nobody continues"
        assert shown(store) == expected(count)
        assert problems(store) == []
        assert store.verify_audit_log().entries == count + 1 + continued
        assert list(audit_path(store.settings).glob("*.journal")) == []


def test_entries_with_and_without_hash_are_in_one_order(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        log = write_soon(store, 3)
        log.record("her", "GET /v1/views", status=200)
        log.record_soon(members(3))
        assert shown(store) == expected(4)
        assert [head.number for head in store.audit_log_heads()] == [5], "the last entry with a hash"
        log.settle()
        assert [head.number for head in store.audit_log_heads()] == [6]
        found = [entry.principal for entry in reversed(store.audit_log()) if entry.action != OPENED]
        assert found == ["him", "him", "him", "her", "him"]
        log.close()
        assert problems(store) == []


def test_a_server_gives_them_their_hashes_within_its_look(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        log = write_soon(store, 2)
        assert flush(store) == 1
        log.check()
        assert flush(store) == 2
        log.close()


def test_large_entries_go_into_the_chain_at_once(tmp_path: Path) -> None:
    large = encode(Done("him", "x" * JOURNAL_BYTES, status=200))
    with new_store(tmp_path) as store:
        log = write_soon(store, 2)
        log.record_soon(large)
        assert [head.number for head in store.audit_log_heads()] == [4]
        log.close()
        assert problems(store) == []


def damaged(path: Path, chain: bytes) -> Sequence[bytes]:
    """The bytes of a journal as a killed process may leave them, or somebody else: in the last of three entries."""
    content = path.read_bytes()
    at = content.index(b"services/s2")
    body = content.rindex(b'"principal"', 0, at)
    header = body - 32
    return [
        content[:header] + bytes(32) + content[body:],
        content[: header + 8] + bytes(24) + content[body:],
        content[: header + 8] + b"\1" + content[header + 9 :],
        content[:body] + b"}" + content[body + 1 :],
        content[: body + 10],
    ]


@pytest.mark.parametrize("how", range(5))
def test_an_entry_that_was_not_written_whole_is_none(tmp_path: Path, how: int) -> None:
    with new_store(tmp_path) as store:
        kill_after(store, 3)
        path = journal_of(store)
        path.write_bytes(damaged(path, b"")[how])
        assert shown(store) == expected(2)
        assert flush(store) == 3
        assert problems(store) == []


def test_a_chain_that_ends_before_its_journal_is_found_and_not_continued(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        write(store)[0].close()
        kill_after(store, 3)
        edit(only_segment(store), lambda lines: lines[:-2])
        journal = journal_of(store).read_bytes()
        (chain,) = list_segments(audit_path(store.settings))
        (problem,) = problems(store)
        assert (problem.chain, problem.what.split(" (")[0]) == (chain, f"entries {problem.number} to {problem.number + 1} are missing")
        log = AuditLog(store.settings)
        log.check()
        assert len(list_segments(audit_path(store.settings))) == 2
        assert (audit_path(store.settings) / f"{chain}.journal").read_bytes() == journal, "it stays as evidence"
        log.close()


@pytest.mark.parametrize("what", ["journal", "segment"])
@pytest.mark.parametrize("how", ["cut", "removed"])
def test_files_that_are_damaged_meanwhile_lose_nothing_that_waited(tmp_path: Path, what: str, how: str) -> None:
    with new_store(tmp_path) as store:
        log = write_soon(store, 3)
        path = journal_of(store) if what == "journal" else only_segment(store)
        if how == "cut":
            os.truncate(path, 0)
        else:
            path.unlink()
        for number in range(3, MOST_ENTRIES + 3):
            log.record_soon(members(number))
        log.check()
        assert log.refusal is None
        # What went into a file that nobody can open any more is lost, and found to be missing.
        lost = MOST_ENTRIES if (what, how) == ("segment", "removed") else 0
        kept = expected(MOST_ENTRIES + 3)[: MOST_ENTRIES + 3 - lost]
        assert shown(store) == kept
        log.close()
        assert shown(store) == kept
        assert (problems(store) == []) is (what == "journal")


def test_entries_wait_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> bool:
        raise OSError(28, "No space left on device")

    with new_store(tmp_path) as store:
        log = write_soon(store, 2)
        monkeypatch.setattr("featurestore.audit_log.segment_file.SegmentFile.append", fail)
        log.check()
        assert log.refusal is not None
        monkeypatch.undo()
        log.check()
        assert log.refusal is None
        assert shown(store) == expected(2)
        log.close()
        assert problems(store) == []


def test_a_chain_that_is_left_takes_no_entry(tmp_path: Path) -> None:
    """Another thread may still have it."""
    with new_store(tmp_path) as store:
        log = write_soon(store, 1)
        chain = log._chain
        assert isinstance(chain, Chain)
        only_segment(store).unlink()
        log.check()
        with pytest.raises(OSError, match="removed or cut short"):
            chain.append_soon(members(1))
        assert shown(store) == expected(1)
        assert len(list(audit_path(store.settings).glob(f"*{LOCK}"))) == 2
        log.close()
