"""Restrict the files of sources that clients define to the folders in a setting."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from featurestore.errors import NotFound, RequestError
from featurestore.files import listing


def list_allowed_files(pattern: str, folders: Sequence[Path] | None) -> list[str]:
    """As `listing.list_files`, for a pattern within these folders (None: anywhere); errors do not name other files.

    Raises: RequestError for a pattern that leads outside, also by a link, a `..` or `~`, whether files exist there or not.
    """
    if folders is None:
        return listing.list_files(pattern)
    refuse_pattern(pattern, folders)
    try:
        files = listing.list_files(pattern)
    except NotFound as error:
        raise NotFound("file", pattern) from error
    refuse_outside(files, folders, pattern)
    return files


def refuse_pattern(pattern: str, folders: Sequence[Path]) -> None:
    """Raise RequestError for a path or pattern that may lead outside of the folders; no folder is listed."""
    steps = pattern.split("/")
    if "://" in pattern or pattern.startswith(("~", "file:")) or ".." in steps or "\0" in pattern:
        raise _refusal(pattern)
    first_wildcard = next((number for number, step in enumerate(steps) if listing.is_pattern(step)), len(steps))
    refuse_outside(["/".join(steps[:first_wildcard]) or ("/" if pattern.startswith("/") else ".")], folders, pattern)


def refuse_outside(paths: Iterable[str], folders: Sequence[Path], pattern: str = "") -> None:
    """Raise RequestError for a file that is outside of the folders after links are resolved."""
    real = [Path(os.path.realpath(folder.expanduser())) for folder in folders]
    for path in paths:
        resolved = Path(os.path.realpath(path))
        if not any(resolved.is_relative_to(folder) for folder in real):
            raise _refusal(pattern or path)


def _refusal(pattern: str) -> RequestError:
    return RequestError(
        f"path '{pattern}': a server reads files only below the folders that its setting source_folders names, by a path without '..' or"
        " '~'; load the rows into an Iceberg table, or have that setting name their folder",
        field="path",
    )
