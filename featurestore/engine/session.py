"""Protocols: the engine runs queries over relations; its sessions are private databases that end when they are closed."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import pyarrow as pa

from featurestore.compiler.query import Query
from featurestore.compiler.relations import FieldId, Handle, IcebergFiles, LocalFiles
from featurestore.compiler.scalar.row_function import RowFunction
from featurestore.engine.rereadable import Rereadable

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

Relation: TypeAlias = "IcebergFiles | LocalFiles | pa.Table | pa.RecordBatchReader | Rereadable | Dataset"

ColumnValues: TypeAlias = Mapping[str, tuple[str, Sequence[Any]]]
"""Columns by name, each with its DuckDB type and its values, one per row."""


class Session(Protocol):
    """One private database, in UTC: adds relations, runs queries, and returns or writes their rows."""

    @property
    def memory(self) -> int:
        """The memory limit in bytes; queries spill beyond it."""

    @property
    def folder(self) -> Path:
        """The session's own folder for files, deleted with the session. A brief session has none."""

    def add(self, name: str, relation: Relation) -> Handle:
        """Make `relation` readable as `name`. Nanosecond timestamps are truncated to microseconds; a reader can be read once.

        Raises: NotFound for files that do not exist; RequestError for files that cannot be read.
        """

    def create_table(self, name: str, query: Query) -> Handle:
        """Store the rows of a query in a temporary table, which replaces an earlier table or view of that name.

        Raises: RequestError if the query fails on the data; OutOfResources.
        """

    def create_view(self, name: str, query: Query) -> Handle:
        """Name a query, which runs whenever the view is read; replaces an earlier table or view of that name. Raises: as `schema`."""

    def rename_table(self, table: Handle, name: str) -> Handle:
        """Rename a temporary table; it replaces an earlier one of that name."""

    def clear(self) -> None:
        """Drop every table and view, and let go of what was added, so that the memory is free for what comes next."""

    def schema(self, query: Query | Handle) -> dict[str, str]:
        """The DuckDB type of each column of a query, without running it. Raises: RequestError with the reason."""

    def batches(self, query: Query | Handle, rows: int = 65_536) -> pa.RecordBatchReader:
        """Stream the rows of a query; the session must stay open while they are read.

        Raises: TypeMismatch naming a column whose type Arrow cannot carry exactly.
        """

    def write(
        self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        """Write the rows of a query to Parquet files in a new folder, with these field ids and about `group_rows` rows per row group.

        Returns the number of rows and the files (none if there are no rows). With `month_of`, each file has rows of only one month of
        that column. Raises: as `create_table`; the folder may have partial files then.
        """

    def write_divided(self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, by: str) -> dict[int, list[Path]]:
        """As `write`, with files of their own for each value of the integer column `by`, by this value; they are without the column."""


class ValueSession(Session, Protocol):
    """A session that can also read Python values."""

    def add_values(self, name: str, columns: Mapping[str, tuple[str | None, Sequence[Any]]]) -> Handle:
        """Create the table `name` from columns of equal length, each with its DuckDB type (None: inferred).

        Raises: RequestError when a value does not have its column's type.
        """


class ExpressionEvaluator(Protocol):
    """Computes SQL expressions over rows that are in memory."""

    def evaluate(self, expressions: Sequence[str], columns: ColumnValues, rows: int | None = None) -> list[list[Any]]:
        """The values of each expression, one for each row."""

    def types_of(self, expressions: Sequence[str], columns: ColumnValues, rows: int = 1) -> tuple[str, ...]:
        """The DuckDB types of the expressions."""


class CompilingEvaluator(ExpressionEvaluator, Protocol):
    """An evaluator that knows which expressions Python computes with the same result."""

    def row_function(self, expressions: Sequence[str], columns: Mapping[str, str]) -> RowFunction | None:
        """Expressions over columns of these DuckDB types as a function; None if one is not proven to give the same values."""


class Engine(Protocol):
    """Opens sessions, and evaluates expressions over a few rows."""

    @property
    def version(self) -> str:
        """The engine's name and version, which may be part of a digest."""

    @property
    def memory(self) -> int:
        """The memory limit of a session in bytes; queries spill beyond it."""

    @property
    def evaluator(self) -> CompilingEvaluator:
        """The evaluator for expressions over a few values; it stays open until `close`."""

    def session(self, folders: Iterable[str | Path] = ()) -> AbstractContextManager[Session]:
        """Open a session that may read and write files only in these folders.

        Relations from other files are copied into the session, which is slower.
        """

    def brief(self) -> AbstractContextManager[Session]:
        """Open a session for few rows: it opens at once, where `session` takes over ten milliseconds.

        It cannot spill or read files.
        """

    def close(self) -> None:
        """Close what stays open between sessions."""
