"""The engine runs SQL over relations; a session is one private database that is gone when it is closed."""

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
    """One private database. All times in it are UTC. Reading in, running, and the two ways out."""

    @property
    def memory(self) -> int:
        """The bytes its queries may use before they spill."""

    @property
    def folder(self) -> Path:
        """A folder of its own, which goes with it; files may be written there. A brief session has none."""

    def add(self, name: str, relation: Relation) -> None:
        """Make `relation` readable as `name`. Nanosecond timestamps are cut to microseconds; a reader can be read once.

        Raises: NotFound for files that do not exist; RequestError for files that cannot be read.
        """

    def set(self, variables: Mapping[str, int | bool]) -> None:
        """Give variables values, which `getvariable('name')` reads in every later statement."""

    def run(self, sql: str) -> None:
        """Run one statement that makes or drops tables and views, or changes their rows.

        Raises: RequestError when it is something else, or the data do not allow it; OutOfResources.
        """

    def schema(self, sql: str) -> dict[str, str]:
        """The DuckDB type of each column of a query, without running it. Raises: RequestError with the reason."""

    def batches(self, sql: str, rows: int = 65_536) -> pa.RecordBatchReader:
        """The rows of a query as a stream; the session must stay open while it is read.

        Raises: TypeMismatch naming a column whose values would not arrive as they are.
        """

    def write(
        self, sql: str, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        """Write the rows of a query to Parquet files in a new folder, with these field ids, in row groups of about this many rows.

        Returns the number of rows and the files, none for no rows. With `month_of` no file holds rows of two months of that
        column. Raises: as `run`; the folder may then hold pieces.
        """


class Engine(Protocol):
    """Where sessions come from."""

    @property
    def version(self) -> str:
        """What names the engine and its version, on which a hash may depend."""

    @property
    def memory(self) -> int:
        """The bytes that the queries of a session may use before they spill."""

    def session(self, folders: Iterable[str | Path] = ()) -> Any:
        """A context manager of a Session that may read and write the files of these folders, and no others.

        What is added to it from other files is copied for it, which takes longer.
        """

    def brief(self) -> Any:
        """The same for a few rows or none: it is there at once, where a session takes a good ten milliseconds, and cannot spill.

        It reads no file.
        """
