"""Files of object stores: their states by a pattern, their bytes, and copies on this machine."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import translate
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.fs as pafs

from featurestore.errors import NotFound, OutOfResources, RequestError
from featurestore.files.listing import is_hidden, is_pattern
from featurestore.lakehouse.catalog_errors import is_disk_full
from featurestore.lakehouse.object_store import open_address, to_source_error

_CHUNK = 8 << 20
_SETTLED_NS = 2_000_000_000
_UNSETTLED = ":new"


class ObjectFiles:
    """The files of one bucket. Paths are addresses, as in the pattern."""

    def __init__(self, pattern: str, properties: Mapping[str, str]) -> None:
        self._pattern = pattern
        self._scheme_and_bucket = "/".join(pattern.split("/")[:3])
        self._files, self._path = open_address(pattern, properties)
        self._bucket = self._path.partition("/")[0]

    def states(self) -> dict[str, str]:
        """The state of each file that matches the pattern, sorted by address: its size, and its time of modification in nanoseconds.

        Wildcards and hidden files are as in `listing.list_files`, but of names with brackets the pattern is always a pattern.
        Raises: NotFound if no file matches, or there is no such bucket; RequestError; NotReady.
        """
        steps = self._path.split("/")
        first = next((number for number, step in enumerate(steps) if is_pattern(step)), len(steps))
        with _translated(self._pattern):
            if first == len(steps):
                found = [self._files.get_file_info(self._path)]
            else:
                selector = pafs.FileSelector("/".join(steps[:first]), recursive=True, allow_not_found=first > 1)
                found = [info for info in self._files.get_file_info(selector) if _matches(info.path.split("/")[first:], steps[first:])]
        states = {self._address(info.path): _state(info) for info in found if info.type == pafs.FileType.File}
        if not states:
            raise NotFound("file", self._pattern, None)
        return dict(sorted(states.items()))

    def exists(self) -> bool:
        """Whether anything is where the pattern's first wildcard is looked for, in one request. Raises: as `states`, but not for that."""
        steps = self._path.split("/")
        fixed = next((number for number, step in enumerate(steps) if is_pattern(step)), len(steps))
        with _translated(self._pattern):
            info = self._files.get_file_info("/".join(steps[:fixed]).rstrip("/"))
        return bool(info.type != pafs.FileType.NotFound)

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """A file, to read parts of it. Raises: as `states`."""
        with _translated(path), self._files.open_input_file(self._key(path)) as file:
            yield cast(BinaryIO, file)

    def fetch(self, path: str, state: str, target: Path) -> None:
        """Copy a file to this machine. Raises: RequestError if it is not in this state any more; OutOfResources; NotReady."""
        with _translated(path):
            with self._files.open_input_stream(self._key(path)) as stream, target.open("wb") as copy:
                while chunk := stream.read(_CHUNK):
                    copy.write(chunk)
            now = _state(self._files.get_file_info(self._key(path)))
        if now.removesuffix(_UNSETTLED) != state.removesuffix(_UNSETTLED) or target.stat().st_size != int(state.partition(":")[0]):
            raise changed(path)

    def _address(self, key: str) -> str:
        return f"{self._scheme_and_bucket}/{key.partition('/')[2]}"

    def _key(self, path: str) -> str:
        return f"{self._bucket}/{path.split('/', 3)[3]}"


def changed(path: str) -> RequestError:
    """The error for a file that was changed between its listing and the end of its copy."""
    return RequestError(f"the file {path} was changed, replaced or removed while it was copied; run the same again", path=path)


def _state(info: pafs.FileInfo) -> str:
    """The state of a file. One that was just written may be written again within the second that stores give times in, so it has another
    state later, and is copied once more then.
    """
    settled = time.time_ns() - info.mtime_ns > _SETTLED_NS
    return f"{info.size}:{info.mtime_ns}{'' if settled else _UNSETTLED}"


def _matches(names: Sequence[str], steps: Sequence[str]) -> bool:
    """Whether the rest of a path matches the steps of a pattern."""
    if not steps or not names:
        return not steps and not names
    step, rest = steps[0], steps[1:]
    if step == "**":
        visible = next((number for number, name in enumerate(names) if is_hidden(name)), len(names))
        return any(_matches(names[begin:], rest or ["*"]) for begin in range(min(visible + 1, len(names))))
    if is_pattern(step):
        if not _compiled(step)(names[0]) or (is_hidden(names[0]) and step[0] != names[0][0]):
            return False
    elif step != names[0]:
        return False
    return _matches(names[1:], rest)


@lru_cache(maxsize=256)
def _compiled(step: str) -> Callable[[str], object]:
    return re.compile(translate(step)).match


@contextmanager
def _translated(address: str) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        # Azure's client reports what it did not expect as an error of Arrow.
        if isinstance(error, OSError) and is_disk_full(error):
            raise OutOfResources(f"no space left for a copy of {address}; nothing of it was kept", resource="disk") from error
        raise to_source_error(error, address) from error
