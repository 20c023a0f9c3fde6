"""List the files of a path or pattern, without hidden, temporary and checksum files of writers."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from fnmatch import translate
from pathlib import Path

from featurestore.errors import NotFound, RequestError

_MAGIC = re.compile(r"[*?\[]")


def list_files(pattern: str) -> list[str]:
    """The files of a path or pattern, sorted by name: `*`, `?` and `[...]` match within a name, `**` matches any folders.

    A name that exists literally is not a pattern. Names that begin with `.` or `_`, and `*.crc`, match only patterns that begin with the
    same character; `_name=value` is a partition folder. `**` does not follow links to folders.
    Raises: NotFound if there is no file; RequestError for what is not a file, or a folder that cannot be listed.
    """
    folder = "/" if pattern.startswith("/") else ""
    steps = [step for step in pattern.split("/") if step not in ("", ".")]
    if pattern.startswith("./"):
        folder = "./"
    paths = sorted(set(_below(folder, steps)))
    if not paths:
        parent = Path(pattern).parent
        known = [str(path) for path in parent.glob("*") if path.is_file() and not is_hidden(path.name)] if parent.is_dir() else []
        raise NotFound("file", pattern, known)
    return paths


def file_states(paths: list[str]) -> dict[str, str]:
    """The state of each file, which differs if it was changed or replaced: size, and times of modification and change in nanoseconds.

    Raises: NotFound for a file that is gone; RequestError for what is not a file, or cannot be accessed.
    """
    return {path: _state(path) for path in paths}


def first_changed(before: Mapping[str, str]) -> str | None:
    """The first of these files (path -> state) whose state has changed; None if none has."""
    for path, state in before.items():
        try:
            if _state(path) != state:
                return path
        except (NotFound, RequestError):
            return path
    return None


def _state(path: str) -> str:
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        broken = " is a link to nothing" if os.path.lexists(path) else " is not there any more"
        raise RequestError(f"the file {path}{broken}; was it removed meanwhile?", path=path) from error
    except OSError as error:
        raise RequestError(f"the file {path} cannot be read: {error.strerror}", path=path) from error
    if stat.S_ISDIR(status.st_mode):
        raise RequestError(f"{path} is a folder; name the files in it, as in '{path}/*.parquet'", path=path)
    if not stat.S_ISREG(status.st_mode):
        raise RequestError(f"{path} is not a file", path=path)
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def _below(folder: str, steps: list[str]) -> Iterator[str]:
    """The paths below a folder (with its `/`, or empty for the current one) that match the steps of a pattern."""
    step, rest = steps[0] if steps else "", steps[1:]
    if not steps:
        return
    plain = not is_pattern(step) or os.path.lexists(folder + step)
    if plain:
        if not rest and os.path.lexists(folder + step):
            yield folder + step
        elif rest and os.path.isdir(folder + step):
            yield from _below(f"{folder}{step}/", rest)
    elif step == "**":
        yield from _below(folder, rest or ["*"])
        for entry in _entries(folder):
            if entry.is_dir(follow_symlinks=False) and not is_hidden(entry.name):
                yield from _below(f"{folder}{entry.name}/", steps)
    else:
        matches = re.compile(translate(step)).match
        for entry in _entries(folder):
            if matches(entry.name) and (not is_hidden(entry.name) or step[0] == entry.name[0]):
                if not rest:
                    yield folder + entry.name
                elif entry.is_dir():
                    yield from _below(f"{folder}{entry.name}/", rest)


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder or ".") as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RequestError(f"the folder {folder or '.'} cannot be listed: {error.strerror}", path=folder) from error


def is_pattern(step: str) -> bool:
    """Whether a step of a path has wildcards."""
    return _MAGIC.search(step) is not None


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, temporary, or a checksum of a writer."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name) or name.endswith(".crc")
