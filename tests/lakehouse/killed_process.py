"""A process that is killed at its n-th step: before or after a file is written or deleted, or a commit lands."""

import itertools
import os
from typing import Any

from pyarrow import fs as pafs
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.table import CommitTableResponse, Table

DIED = 9
STEPS = itertools.count(1)


def catalog(uri: str) -> dict[str, str]:
    """The settings of such a catalog."""
    return {
        "py-catalog-impl": "tests.lakehouse.killed_process.DyingCatalog",
        "py-io-impl": "tests.lakehouse.killed_process.DyingIO",
        "uri": uri,
    }


def step() -> None:
    """One step on; the last one if it is the one that the environment names."""
    if next(STEPS) == int(os.environ.get("DIES_AT", "0")):
        os._exit(DIED)


class DyingCatalog(SqlCatalog):
    """Dies around commits."""

    def commit_table(self, table: Table, requirements: tuple[Any, ...], updates: tuple[Any, ...]) -> CommitTableResponse:
        step()
        response = super().commit_table(table, requirements, updates)
        step()
        return response


class DyingFiles:
    """A file system that dies before it deletes a file."""

    def __init__(self, real: pafs.FileSystem) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def delete_file(self, path: str) -> None:
        step()
        self._real.delete_file(path)


class DyingIO(PyArrowFileIO):
    """Exits when a file is created or deleted."""

    def __init__(self, properties: dict[str, str]) -> None:
        super().__init__(properties)
        real = self.fs_by_scheme
        self.fs_by_scheme = lambda scheme, netloc: DyingFiles(real(scheme, netloc))

    def new_output(self, location: str) -> PyArrowFile:
        step()
        return super().new_output(location)
