"""Sessions that were killed leave the folder they spilled to; what nothing wrote to for long is theirs."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SESSIONS = "session-*"


@dataclass(frozen=True)
class Left:
    """How many files of dead sessions went, or would go, and their bytes."""

    files: int
    bytes: int


def sweep(spill: Path, older_than: datetime, dry_run: bool = False) -> Left:
    """Delete the folders of sessions in which nothing changed since `older_than`, which must lie further back than a session lasts."""
    files = size = 0
    for folder in sorted(spill.glob(SESSIONS)) if spill.is_dir() else []:
        try:
            states = [path.stat() for path in [folder, *folder.rglob("*")]]
        except FileNotFoundError:
            # A session that ends takes its folder away: it was alive.
            continue
        if max(datetime.fromtimestamp(state.st_mtime, UTC) for state in states) >= older_than:
            continue
        files += len(states) - 1
        size += sum(state.st_size for state in states[1:])
        if not dry_run:
            # Another upkeep may be at it as well.
            shutil.rmtree(folder, ignore_errors=True)
    return Left(files, size)
