"""Which files a source may name where its definition came from elsewhere: those below folders that a setting names, and nothing else."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from featurestore.errors import NotFound, RequestError
from featurestore.files import listing


def listed(pattern: str, folders: Sequence[Path]) -> list[str]:
    """As `listing.listed`, for a pattern that stays below these folders; what else lies there is not told.

    Raises: RequestError for one that leads elsewhere, whether there is something or not; also by a link, a `..`, or `~`.
    """
    refuse_pattern(pattern, folders)
    try:
        found = listing.listed(pattern)
    except NotFound as error:
        raise NotFound("file", pattern) from error
    refuse_outside(found, folders, pattern)
    return found


def refuse_pattern(pattern: str, folders: Sequence[Path]) -> None:
    """Raises: RequestError for a path or pattern that may lead elsewhere; nothing is listed."""
    steps = pattern.split("/")
    if "://" in pattern or pattern.startswith(("~", "file:")) or ".." in steps or "\0" in pattern:
        raise _refused(pattern)
    plain = next((number for number, step in enumerate(steps) if listing.is_pattern(step)), len(steps))
    refuse_outside(["/".join(steps[:plain]) or ("/" if pattern.startswith("/") else ".")], folders, pattern)


def refuse_outside(paths: Iterable[str], folders: Sequence[Path], pattern: str = "") -> None:
    """Raises: RequestError for a file that does not lie below one of the folders, its links followed."""
    real = [Path(os.path.realpath(folder.expanduser())) for folder in folders]
    for path in paths:
        place = Path(os.path.realpath(path))
        if not any(place.is_relative_to(folder) for folder in real):
            raise _refused(pattern or path)


def _refused(pattern: str) -> RequestError:
    return RequestError(
        f"path '{pattern}': a server reads files only below the folders that its setting source_folders names, by a path without '..' or"
        " '~'; load the rows into an Iceberg table, or have that setting name their folder",
        field="path",
    )
