"""What an erasure does with the records of jobs: those that name the key are deleted, and whatever stays is told."""

import json
import shutil
from pathlib import Path

import pytest

from featurestore.pipelines.maintenance.erasure_jobs import erase_jobs

KEY = {"customer_id": 13}


def record(home: Path, name: str, content: bytes) -> Path:
    path = home / "jobs" / name / "job.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def ended(result: object) -> bytes:
    return json.dumps({"state": "done", "result": result, "error": None, "progress": None}).encode()


def test_records_that_name_the_key_are_deleted_and_others_stay(tmp_path: Path) -> None:
    named, other = record(tmp_path, "a", ended({"first": "customer_id 13"})), record(tmp_path, "b", ended({"first": "customer_id 130"}))
    assert list(erase_jobs(tmp_path, KEY, dry_run=False)) == []
    assert (named.parent.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"13", b"{}", b"\xff"])
def test_a_record_that_cannot_be_read_is_told(tmp_path: Path, content: bytes) -> None:
    path = record(tmp_path, "a", content)
    assert list(erase_jobs(tmp_path, KEY, dry_run=False)) == [
        f"{path}: the record of a job that cannot be read; delete its folder, and erase again"
    ]


def test_a_record_that_cannot_be_deleted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = record(tmp_path, "a", ended([13]))

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    [told] = erase_jobs(tmp_path, KEY, dry_run=False)
    assert told.startswith(f"{path.parent}: a record that names the key, which cannot be deleted (Permission denied)")
