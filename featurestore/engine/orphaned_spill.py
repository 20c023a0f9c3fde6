"""Remove the spill folders of sessions that were killed: those that nothing has written to for a long time."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SESSIONS = "session-*"


@dataclass(frozen=True)
class RemovedSpill:
    """The number of spill files removed, or that a dry run would remove, and their total size in bytes."""

    files: int
    bytes: int


def remove_orphaned_spill(spill: Path, older_than: datetime, dry_run: bool = False) -> RemovedSpill:
    """Delete session folders unchanged since `older_than`, which must be longer ago than any session runs."""
    files = size = 0
    for folder in sorted(spill.glob(SESSIONS)) if spill.is_dir() else []:
        try:
            states = [path.stat() for path in [folder, *folder.rglob("*")]]
        except FileNotFoundError:
            # The session has just ended and removed its folder.
            continue
        if max(datetime.fromtimestamp(state.st_mtime, UTC) for state in states) >= older_than:
            continue
        files += len(states) - 1
        size += sum(state.st_size for state in states[1:])
        if not dry_run:
            # Another process may be removing it as well.
            shutil.rmtree(folder, ignore_errors=True)
    return RemovedSpill(files, size)
