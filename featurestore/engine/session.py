"""Protocols of the engine, which runs SQL over relations, and of its sessions: private databases that are dropped when closed."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pyarrow as pa

from featurestore.compiler.relations import FieldId, IcebergFiles, LocalFiles
from featurestore.engine.rereadable import Rereadable

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

Relation: TypeAlias = "IcebergFiles | LocalFiles | pa.Table | pa.RecordBatchReader | Rereadable | Dataset"


class Session(Protocol):
    """One private database, in UTC: adds relations, runs SQL, and returns or writes rows."""

    @property
    def memory(self) -> int:
        """The memory limit in bytes; queries spill beyond it."""

    @property
    def folder(self) -> Path:
        """The session's own folder for files, deleted with the session. A brief session has none."""

    def add(self, name: str, relation: Relation) -> None:
        """Make `relation` readable as `name`. Nanosecond timestamps are truncated to microseconds; a reader can be read once.

        Raises: NotFound for files that do not exist; RequestError for files that cannot be read.
        """

    def set(self, variables: Mapping[str, int | bool]) -> None:
        """Set variables, which later statements read with `getvariable('name')`."""

    def run(self, sql: str) -> None:
        """Run one statement that creates or drops tables and views, or changes rows.

        Raises: RequestError for other statements, or if it fails on the data; OutOfResources.
        """

    def clear(self) -> None:
        """Drop every table and view, and let go of what was added, so that the memory is free for what comes next."""

    def schema(self, sql: str) -> dict[str, str]:
        """The DuckDB type of each column of a query, without running it. Raises: RequestError with the reason."""

    def batches(self, sql: str, rows: int = 65_536) -> pa.RecordBatchReader:
        """Stream the rows of a query; the session must stay open while they are read.

        Raises: TypeMismatch naming a column whose type Arrow cannot carry exactly.
        """

    def write(
        self, sql: str, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        """Write the rows of a query to Parquet files in a new folder, with these field ids and about `group_rows` rows per row group.

        Returns the number of rows and the files (none if there are no rows). With `month_of`, each file has rows of only one month of
        that column. Raises: as `run`; the folder may have partial files then.
        """


class Engine(Protocol):
    """Opens sessions."""

    @property
    def version(self) -> str:
        """The engine's name and version, which may be part of a digest."""

    @property
    def memory(self) -> int:
        """The memory limit of a session in bytes; queries spill beyond it."""

    def session(self, folders: Iterable[str | Path] = ()) -> Any:
        """A context manager of a Session that may read and write files only in these folders.

        Relations from other files are copied into the session, which is slower.
        """

    def brief(self) -> Any:
        """A context manager of a Session for few rows: it opens at once, where `session` takes over ten milliseconds.

        It cannot spill or read files.
        """
