"""Erase a key from the folders of a server's jobs: the results and errors of those that have ended may name rows."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore.values.json_encoding import plain

FOLDER, RECORD, SPINE = "jobs", "job.json", "spine.arrow"
LIVE = ("queued", "running")


def erase_jobs(home: Path, values: Mapping[str, Any], dry_run: bool) -> Iterator[str]:
    """Delete the records of ended jobs that name all values of a key, and yield what remains: of jobs that have not ended.

    In a dry run nothing is deleted, and everything remains.
    """
    for spine in (home / FOLDER).rglob(SPINE):
        yield f"{spine}: the spine of a training set that a server is to build; wait for it, and erase again"
    for path in sorted((home / FOLDER).glob(f"*/{RECORD}")):
        try:
            job = json.loads(path.read_bytes())
            told, state = [job["result"], job["error"], job["progress"]], job["state"]
        except FileNotFoundError:
            # A server has removed it just now.
            continue
        except (ValueError, KeyError, TypeError):
            yield f"{path}: the record of a job that cannot be read; delete its folder, and erase again"
            continue
        if not all(_names(told, value) for value in values.values()):
            continue
        if state in LIVE:
            yield f"{path}: the record of a job that names the key; wait for its end, and erase again"
        elif dry_run:
            yield f"{path}: the record of a job that names the key"
        else:
            yield from _delete(path.parent)


def _delete(folder: Path) -> Iterator[str]:
    """Delete the folder of a job; yields it if it is still there."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        # Not if a server deleted it at the same time.
        if folder.exists():
            yield f"{folder}: a record that names the key, which cannot be deleted ({error.strerror}); delete it, and erase again"


def _names(document: Any, value: Any) -> bool:
    """Whether a JSON document has a value, or a text that has it as a word."""
    if isinstance(document, dict):
        return any(_names(inner, value) for inner in (*document, *document.values()))
    if isinstance(document, list):
        return any(_names(inner, value) for inner in document)
    if isinstance(document, str):
        return any(re.search(rf"(?<!\w){re.escape(str(form))}(?!\w)", document) for form in {str(value), str(plain(value))})
    return type(document) is type(value) and bool(document == value)
