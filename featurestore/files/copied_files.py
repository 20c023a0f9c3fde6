"""The files of a source of which the store keeps a copy: on this machine, in an object store, or at an HTTP address."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from featurestore.dsl.source import is_address
from featurestore.errors import RequestError
from featurestore.files import confinement, listing
from featurestore.files.http_files import HttpFile
from featurestore.files.locations import refuse_location
from featurestore.files.object_files import ObjectFiles


class CopiedFiles(Protocol):
    """Files that match a pattern, each with a state that differs if the file does."""

    def states(self) -> dict[str, str]:
        """The state of each file, which begins with its size in bytes and a colon. Raises: NotFound; RequestError; NotReady."""

    def opened(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file, to read parts of it. Raises: as `states`."""

    def fetch(self, path: str, state: str, target: Path) -> None:
        """Make the file readable at a path of this machine. Raises: RequestError if it is not in this state any more."""


class FolderFiles:
    """Files of this machine, in these folders (None: anywhere)."""

    def __init__(self, pattern: str, folders: Sequence[Path] | None) -> None:
        self._pattern, self._folders = pattern, folders

    def states(self) -> dict[str, str]:
        """See CopiedFiles."""
        return listing.file_states(confinement.list_allowed_files(self._pattern, self._folders))

    @contextmanager
    def opened(self, path: str) -> Iterator[BinaryIO]:
        """See CopiedFiles."""
        try:
            with open(path, "rb") as file:
                yield file
        except OSError as error:
            raise RequestError(f"the file {path} cannot be read: {error.strerror}", path=path) from error

    def fetch(self, path: str, state: str, target: Path) -> None:
        """See CopiedFiles: a link to the file, which `refuse_changed` looks at again."""
        os.symlink(os.path.abspath(path), target)


def open_files(
    pattern: str, properties: Mapping[str, str], folders: Sequence[Path] | None, locations: Sequence[str] | None
) -> "CopiedFiles":
    """The files of a path or an address. `folders` and `locations` are where they may be (None: anywhere).

    Raises: RequestError for an address elsewhere, before anything is connected to; NotReady for settings that do not fit.
    """
    if not is_address(pattern):
        return FolderFiles(pattern, folders)
    refuse_location(pattern, locations)
    return HttpFile(pattern) if pattern.startswith(("http://", "https://")) else ObjectFiles(pattern, properties)


def local_target(folder: Path, number: int, path: str) -> Path:
    """Where the copy of a file is made: below folders of its partitions, by whose names its columns are read, with the end of its name."""
    steps = [step for step in path.split("/")[:-1] if "=" in step.strip("=") and not is_address(f"{step}//")]
    name = path.rpartition("/")[2].lower()
    end = next(end for end in (".csv.gz", ".csv", ".parquet", "") if name.endswith(end))
    target = folder.joinpath(str(number), *steps, f"file{end}")
    target.parent.mkdir(parents=True)
    return target
