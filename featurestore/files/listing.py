"""Which files a path or a pattern names: what the writers of files leave beside them, or while they write, is none of them."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from fnmatch import translate
from pathlib import Path

from featurestore.errors import NotFound, RequestError

_MAGIC = re.compile(r"[*?\[]")


def listed(pattern: str) -> list[str]:
    """The files that a path or a pattern names, in the order of their names: `*`, `?` and `[...]` within a name, `**` for
    any folders.

    A name that is there as it is written is no pattern, whatever is in it. Names that begin with `.` or `_`, and `*.crc`,
    match nothing but their own beginning written out; `_name=value` is a partition's folder. `**` follows no links to folders.
    Raises: NotFound when there is no file; RequestError for what is no file, or a folder that cannot be listed.
    """
    folder = "/" if pattern.startswith("/") else ""
    steps = [step for step in pattern.split("/") if step not in ("", ".")]
    if pattern.startswith("./"):
        folder = "./"
    found = sorted(set(_below(folder, steps)))
    if not found:
        parent = Path(pattern).parent
        known = [str(path) for path in parent.glob("*") if path.is_file() and not _is_hidden(path.name)] if parent.is_dir() else []
        raise NotFound("file", pattern, known)
    return found


def states(paths: list[str]) -> dict[str, str]:
    """What tells that a file was changed or replaced: its size, and when it was last written and changed, in nanoseconds.

    Raises: NotFound for one that is gone; RequestError for what is no file, or cannot be looked at.
    """
    return {path: _state(path) for path in paths}


def moved(before: Mapping[str, str]) -> str | None:
    """The first of these files that is not as it was; None when all are."""
    for path, state in before.items():
        try:
            if _state(path) != state:
                return path
        except (NotFound, RequestError):
            return path
    return None


def _state(path: str) -> str:
    try:
        held = os.stat(path)
    except FileNotFoundError as error:
        broken = " is a link to nothing" if os.path.lexists(path) else " is not there any more"
        raise RequestError(f"the file {path}{broken}; was it removed meanwhile?", path=path) from error
    except OSError as error:
        raise RequestError(f"the file {path} cannot be read: {error.strerror}", path=path) from error
    if stat.S_ISDIR(held.st_mode):
        raise RequestError(f"{path} is a folder; name the files in it, as in '{path}/*.parquet'", path=path)
    if not stat.S_ISREG(held.st_mode):
        raise RequestError(f"{path} is not a file", path=path)
    return f"{held.st_size}:{held.st_mtime_ns}:{held.st_ctime_ns}"


def _below(folder: str, steps: list[str]) -> Iterator[str]:
    """The paths in a folder (with its `/`, or empty for the current one) that the steps lead to."""
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
            if entry.is_dir(follow_symlinks=False) and not _is_hidden(entry.name):
                yield from _below(f"{folder}{entry.name}/", steps)
    else:
        matches = re.compile(translate(step)).match
        for entry in _entries(folder):
            if matches(entry.name) and (not _is_hidden(entry.name) or step[0] == entry.name[0]):
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
    """Whether a name in a path may stand for several."""
    return _MAGIC.search(step) is not None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name) or name.endswith(".crc")
