"""Files of a running log that somebody else cuts short or removes, and homes that are gone or come back."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from featurestore.audit_log import retired_heads
from featurestore.audit_log.folder import audit_path, list_segments
from featurestore.audit_log.table import heads_in
from tests.audit_log.test_tampering import flush, new_store, only_segment, problems, write


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_file_that_is_cut_short_ends_no_process(tmp_path: Path, kept: int) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        path = only_segment(store)
        ends = [0, path.read_bytes().find(b"\n") + 1, path.stat().st_size // 2]
        cut = next(iter(list_segments(audit_path(store.settings))))
        os.truncate(path, ends[kept])
        log.record("him", "GET /v1/views", status=200)
        assert [entry.action for entry in store.audit_log(principal="him")] == ["GET /v1/views"], "in another chain"
        assert len(list_segments(audit_path(store.settings))) == 2
        found = [problem for problem in problems(store) if problem.chain == cut]
        if kept < 2:
            assert [(problem.number, "truncated" in problem.what or "missing" in problem.what) for problem in found] == [(kept + 1, True)]
        else:
            assert found == [], "what was cut off was not written to yet"
        log.close()
        assert path.stat().st_size == ends[kept], "it stays as it is"


def test_a_file_that_is_removed_is_noticed(tmp_path: Path) -> None:
    with new_store(tmp_path) as store:
        (log,) = write(store)
        only_segment(store).unlink()
        log.check()
        log.record("him", "GET /v1/views", status=200)
        assert [entry.action for entry in store.audit_log(principal="him")] == ["GET /v1/views"]
        assert [(problem.number, problem.what) for problem in problems(store)] == [(1, "the chain is missing")]


def test_heads_of_homes_that_are_gone_become_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retired_heads, "MOST_HEADS", 2)
    monkeypatch.setattr(retired_heads, "AGE", timedelta(0))
    with new_store(tmp_path) as store:
        folder, kept = audit_path(store.settings), tmp_path / "kept"
        logs = write(store, chains=5, entries=3)
        flush(store)
        for log in logs:
            log.close()
        gone = sorted(list_segments(folder))
        shutil.copytree(folder, kept)
        for path in (*folder.glob("*.jsonl"), *folder.glob("*.lock")):
            path.unlink()
        write(store, entries=3)[0].close()
        flush(store)
        left = heads_in(store.catalog.load_table("system.audit").properties)
        assert len(left) == 2, "its own, and one of the others"
        assert problems(store) == []
        # One of them comes back, and goes on where it was.
        back = next(chain for chain in gone if chain not in left)
        for path in kept.glob(f"{back}.*"):
            shutil.copy(path, folder)
        for path in folder.glob("*"):
            if path.name != "secret" and not path.name.startswith(back):
                path.unlink()
        write(store, entries=2)[0].close()
        assert problems(store) == []
        assert flush(store) == 3
        assert flush(store) == 0
        assert problems(store) == []
        # Another one is cut short where it is now: in the table only.
        cut = next(chain for chain in gone if chain not in left and chain != back)
        store.catalog.load_table("system.audit").delete(f"chain = '{cut}' AND number = 4")
        assert [(problem.chain, problem.number) for problem in problems(store)] == [(cut, 4)]
