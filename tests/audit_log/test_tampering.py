"""Each way to change an audit log is found, and its place is named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from featurestore import FeatureStore, Settings
from featurestore.audit_log import chain
from featurestore.audit_log.flush import Flusher
from featurestore.audit_log.folder import audit_path, list_segments
from featurestore.audit_log.log import AuditLog
from featurestore.audit_log.results import AuditProblem
from featurestore.audit_log.table import HEAD

ENTRIES = 12
"""Entries of a chain: the one of its opening, and eleven."""


def new_store(tmp_path: Path) -> FeatureStore:
    """An empty store with an audit log."""
    return FeatureStore(settings=Settings(home=tmp_path / "home", audit_log="on"))


def write(store: FeatureStore, chains: int = 1, entries: int = ENTRIES - 1) -> list[AuditLog]:
    """Open chains, and write entries to each."""
    logs = [AuditLog(store.settings) for _ in range(chains)]
    for log in logs:
        log.check()
    for number in range(entries):
        for log in logs:
            log.record("her", "GET /v1/views", objects=[f"views/v{number}"], status=200)
    return logs


def flush(store: FeatureStore) -> int:
    """Flush the files into the table."""
    return Flusher(store.backend.runtime).flush()


def problems(store: FeatureStore) -> list[AuditProblem]:
    """What `verify` finds."""
    result = store.verify_audit_log()
    assert result.verified is (not result.problems)
    return list(result.problems)


def only_segment(store: FeatureStore) -> Path:
    """The file of the only chain."""
    ((segment,),) = list_segments(audit_path(store.settings)).values()
    return segment.path


def edit(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a file, whose room is left out."""
    path.write_bytes(b"".join(change(path.read_bytes().rstrip(b"\0").splitlines(keepends=True))))


FILE_CHANGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], int, str]] = {
    "a byte": (lambda lines: [*lines[:4], lines[4].replace(b"views/v3", b"views/v9"), *lines[5:]], 5, "was edited"),
    "the hash": (lambda lines: [*lines[:-1], lines[-1][:-4] + b'g"}\n'], ENTRIES, "was edited"),
    "no entry": (lambda lines: [*lines[:4], b"nothing\n", *lines[5:]], 0, "is not an entry"),
    "a line": (lambda lines: [*lines[:4], *lines[5:]], 5, "entry 5 is missing"),
    "three lines": (lambda lines: [*lines[:4], *lines[7:]], 5, "entries 5 to 7 are missing"),
    "the first line": (lambda lines: lines[1:], 1, "entry 1 is missing"),
    "twice": (lambda lines: [*lines[:5], lines[4], *lines[5:]], 5, "after a later entry"),
    "two lines swapped": (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], 4, "entry 4 is missing"),
}


@pytest.mark.parametrize("what", FILE_CHANGES)
@pytest.mark.parametrize("flushed", [False, True])
def test_a_changed_file_is_found(tmp_path: Path, what: str, flushed: bool) -> None:
    change, number, said = FILE_CHANGES[what]
    with new_store(tmp_path) as store:
        write(store)
        if flushed:
            assert flush(store) == ENTRIES
        assert not problems(store)
        edit(only_segment(store), change)
        if flushed and what == "the first line":
            # What is in the table may be removed from the files.
            assert not problems(store)
        else:
            first = problems(store)[0]
            assert (first.number, said in first.what) == (number, True), first


def test_two_entries_that_exchange_their_numbers_are_found(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        write(store)
        edit(
            only_segment(store),
            lambda lines: [
                *lines[:3],
                lines[4].replace(b'"number":5,', b'"number":4,'),
                lines[3].replace(b'"number":4,', b'"number":5,'),
                *lines[5:],
            ],
        )
        assert [(problem.number, "edited" in problem.what) for problem in problems(store)[:2]] == [(4, True), (5, True)]


def test_a_truncated_file_is_found_by_the_table_and_by_heads(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        heads = store.audit_log_heads()
        edit(only_segment(store), lambda lines: lines[:-2])
        assert not problems(store)
        result = store.verify_audit_log(heads)
        assert [problem.number for problem in result.problems] == [ENTRIES - 1]
        assert "truncated" in result.problems[0].what
        assert not store.verify_audit_log([head.to_dict() for head in heads]).verified
        log.close()
        # The next process continues the chain where it ends now: with other entries, whose hashes differ.
        write(store, entries=4)
        assert not problems(store)
        assert "was replaced" in store.verify_audit_log(heads).problems[0].what


def test_a_chain_that_forks_from_the_table_is_found_and_not_flushed(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        flush(store)
        log.close()
        edit(only_segment(store), lambda lines: lines[:-2])
        write(store, entries=1)
        assert flush(store) == 0
        assert {problem.number for problem in problems(store)} >= {ENTRIES - 1}


def rewrite(store: FeatureStore, number: int, **changed: object) -> None:
    """Change the row of an entry in the table."""
    table = store.catalog.load_table("system.audit")
    row = table.scan(row_filter=f"number = {number}").to_arrow()
    values = row.to_pylist()[0] | changed
    table.overwrite(type(row).from_pylist([values], row.schema), overwrite_filter=f"number = {number}")


def test_a_changed_row_is_found(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        write(store)
        flush(store)
        table = store.catalog.load_table("system.audit")
        rewrite(store, 3, principal="him")
        assert [(problem.number, "columns" in problem.what) for problem in problems(store)] == [(3, True)]
        rewrite(store, 3, principal="her")
        assert not problems(store)
        line = table.scan(row_filter="number = 3").to_arrow()["line"][0].as_py()
        rewrite(store, 3, line=line.replace("her", "him"))
        assert [(problem.number, "hash" in problem.what) for problem in problems(store)] == [(3, True)]


def test_removed_rows_are_found(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        write(store)
        flush(store)
        table = store.catalog.load_table("system.audit")
        table.delete("number > 3")
        first = problems(store)[0]
        assert (first.number, "truncated" in first.what or "missing" in first.what) == (4, True)


def test_a_doubled_row_is_found(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        write(store)
        flush(store)
        table = store.catalog.load_table("system.audit")
        table.append(table.scan(row_filter="number = 6").to_arrow())
        assert [(problem.number, "twice" in problem.what) for problem in problems(store)] == [(6, True)]


def test_a_rolled_back_snapshot_is_found(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        flush(store)
        first = store.catalog.load_table("system.audit").current_snapshot()
        assert first is not None
        log.record("her", "GET /v1/views", status=200)
        flush(store)
        shutil.rmtree(audit_path(store.settings))
        assert not problems(store)
        store.catalog.load_table("system.audit").manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
        assert [problem.number for problem in problems(store)] == [ENTRIES + 1]


def test_a_dropped_chain_is_found_although_its_anchors_are_removed(tmp_path: Path) -> None:
    """A chain that was opened later has its head."""
    with new_store(tmp_path) as store:
        victim, _ = write(store, chains=2)
        dropped = victim._chain.id if victim._chain is not None else ""
        flush(store)
        write(store, entries=1)
        flush(store)
        table = store.catalog.load_table("system.audit")
        table.delete(f"chain = '{dropped}'")
        for segment in list_segments(audit_path(store.settings))[dropped]:
            segment.path.unlink()
        assert [(problem.chain, problem.what) for problem in problems(store)] == [(dropped, "the chain is missing")]
        with table.transaction() as transaction:
            transaction.remove_properties(HEAD + dropped)
        table.refresh()
        current = table.current_snapshot()
        with table.maintenance.expire_snapshots() as expiry:
            for snapshot in table.snapshots():
                if current is not None and snapshot.snapshot_id != current.snapshot_id:
                    expiry.by_id(snapshot.snapshot_id)
        assert len(store.catalog.load_table("system.audit").snapshots()) == 1
        assert [problem.chain for problem in problems(store)] == [dropped]


def test_a_dropped_table_is_found_by_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "SEGMENT_BYTES", 2000)
    with new_store(tmp_path) as store:
        write(store)
        flush(store)
        assert len(next(iter(list_segments(audit_path(store.settings)).values()))) == 1
        store.catalog.drop_table("system.audit")
        first = problems(store)[0]
        assert (first.number, "missing" in first.what) == (1, True)


@pytest.mark.parametrize("torn", [b'{"chain":"', b'{"chain":"\0\0\0"}\n', b"\0\0\n"])
def test_what_a_killed_process_wrote_of_a_line_is_no_problem(tmp_path: Path, torn: bytes) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        path = only_segment(store)
        log.close()
        with path.open("ab") as file:
            file.write(torn)
        assert not problems(store)
        write(store, entries=1)
        assert only_segment(store) == path
        assert flush(store) == ENTRIES + 2
        assert not problems(store)
        assert store.verify_audit_log().entries == ENTRIES + 2


def test_segments_are_removed_once_they_are_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "SEGMENT_BYTES", 2000)
    with new_store(tmp_path) as store:
        logs = write(store, chains=2, entries=30)
        assert all(len(segments) > 3 for segments in list_segments(audit_path(store.settings)).values())
        assert store.verify_audit_log().entries == 62
        assert flush(store) == 62
        assert [len(segments) for segments in list_segments(audit_path(store.settings)).values()] == [1, 1]
        assert flush(store) == 0
        for log in logs:
            log.record("her", "GET /v1/views", status=200)
            log.close()
        assert store.verify_audit_log().entries == 64
        # As many chains as processes at the same time.
        write(store, chains=2, entries=1)
        assert len(list_segments(audit_path(store.settings))) == 2
        assert not problems(store)


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        log.digest(b"42")
        folder = audit_path(store.settings)
        assert {os.stat(path).st_mode & 0o077 for path in (folder, *folder.iterdir())} == {0}


def test_a_repair_of_a_damaged_table_hides_nothing(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        flush(store)
        log.record("her", "GET /v1/views", status=200)
        flush(store)
        before = store.catalog.load_table("system.audit").properties
        entries = store.catalog.load_table("system.audit").inspect.entries().sort_by([("sequence_number", "descending")])
        Path(entries.column("data_file")[0].as_py()["file_path"].removeprefix("file://")).unlink()
        log.close()
        for path in audit_path(store.settings).glob("*.jsonl"):
            path.unlink()
        assert [told.table for told in store.repair()] == ["system.audit"]
        heads = {name: value for name, value in before.items() if name.startswith(HEAD)}
        assert heads
        assert heads.items() <= store.catalog.load_table("system.audit").properties.items()
        assert [problem.number for problem in problems(store)] == [ENTRIES + 1]
