"""DuckDB as the engine: one in-memory database a session, bounded in memory, spilling to a folder of its own."""

import errno
import glob
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from featurestore.compiler.expressions import literal, quoted
from featurestore.compiler.relations import IcebergFiles, LocalFiles
from featurestore.engine.session import Relation
from featurestore.errors import FeatureStoreError, NotFound, OutOfResources, RequestError
from featurestore.settings import Settings

log = logging.getLogger(__name__)


class DuckEngine:
    """Sessions with the settings' memory limit, threads and spill folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._evaluator: duckdb.DuckDBPyConnection | None = None
        self._lock = threading.Lock()

    @contextmanager
    def session(self) -> Iterator["DuckSession"]:
        """A fresh database; its spill files are removed with it."""
        spill = self._settings.spill_path()
        spill.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="session-", dir=spill)
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": folder,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        if self._settings.memory_limit:
            config["memory_limit"] = self._settings.memory_limit
        if self._settings.threads:
            config["threads"] = self._settings.threads
        with _translated():
            connection = duckdb.connect(config=config)
        try:
            connection.execute("SET timezone = 'UTC'")
            yield DuckSession(connection)
        finally:
            connection.close()
            shutil.rmtree(folder, ignore_errors=True)

    def evaluate(self, sql: str, given: pa.Table) -> pa.Table:
        """One SELECT over the small table `given`, in order, on a connection that stays open; for use from any thread."""
        with _translated():
            with self._lock:
                if self._evaluator is None:
                    self._evaluator = duckdb.connect(config={"threads": 1})
                    self._evaluator.execute("SET timezone = 'UTC'")
                connection = self._evaluator.cursor()
            try:
                connection.register("given", given)
                return connection.sql(sql).to_arrow_table()
            finally:
                connection.close()

    def close(self) -> None:
        """Close the connection that `evaluate` keeps."""
        if self._evaluator is not None:
            self._evaluator.close()
            self._evaluator = None


class DuckSession:
    """One DuckDB connection; see `Session` for what each method does."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def add(self, name: str, relation: Relation) -> None:
        if isinstance(relation, IcebergFiles):
            sql = _iceberg_sql(relation)
        elif isinstance(relation, LocalFiles):
            sql = _local_sql(relation)
        else:
            with _translated():
                self._connection.register(f"{name}__arrow", relation)
            sql = f"SELECT * FROM {quoted(f'{name}__arrow')}"
        with _translated():
            columns = [_micros(column, kind) for column, kind in self.schema(sql).items()]
            self.run(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT {', '.join(columns)} FROM ({sql})")

    def set(self, variables: Mapping[str, int | bool]) -> None:
        for variable, value in variables.items():
            self.run(f"SET VARIABLE {quoted(variable)} = {str(value).lower()}")

    def run(self, sql: str) -> None:
        with _translated():
            self._connection.execute(sql).fetchall()

    def schema(self, sql: str) -> dict[str, str]:
        with _translated():
            rows = self._connection.execute(f"DESCRIBE {sql}").fetchall()
        return {str(row[0]): str(row[1]) for row in rows}

    def batches(self, sql: str, rows: int = 65_536) -> pa.RecordBatchReader:
        with _translated():
            reader = self._connection.sql(sql).to_arrow_reader(rows)
        return pa.RecordBatchReader.from_batches(reader.schema, _translated_batches(reader))


def _translated_batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with _translated():
        yield from reader


def _iceberg_sql(files: IcebergFiles) -> str:
    if not files.paths:
        columns = ", ".join(f"CAST(NULL AS {column.sql_type}) AS {quoted(column.name)}" for column in files.columns)
        return f"SELECT {columns} WHERE false"
    fields = ", ".join(
        f"{column.id}: {{name: {literal(column.name)}, type: {literal(column.sql_type)}, default_value: NULL}}" for column in files.columns
    )
    paths = ", ".join(literal(path) for path in files.paths)
    return f"SELECT {', '.join(quoted(column.name) for column in files.columns)} FROM read_parquet([{paths}], schema=MAP {{{fields}}})"


def _local_sql(files: LocalFiles) -> str:
    if not glob.glob(files.path, recursive=True):
        folder = Path(files.path).parent
        raise NotFound("file", files.path, [str(path) for path in folder.glob("*") if path.is_file()] if folder.is_dir() else [])
    if files.format == "csv":
        return f"SELECT * FROM read_csv({literal(files.path)}, sample_size=-1)"
    return f"SELECT * FROM read_parquet({literal(files.path)})"


def _micros(column: str, kind: str) -> str:
    """Nanoseconds cut down, also before 1970, where a cast would round them to the nearest microsecond."""
    name = quoted(column)
    if kind == "TIMESTAMP_NS":
        return f"make_timestamp((epoch_ns({name}) - ((epoch_ns({name}) % 1000) + 1000) % 1000) // 1000) AS {name}"
    return name


@contextmanager
def _translated() -> Iterator[None]:
    """DuckDB's errors as ours; its own text goes to the log and to `details`, never into the message."""
    try:
        yield
    except FeatureStoreError:
        raise
    except duckdb.OutOfMemoryException as error:
        raise OutOfResources("a query needs more memory than memory_limit allows; raise memory_limit or lower threads") from error
    except duckdb.IOException as error:
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC
        if full or "No space left" in str(error) or "max_temp_directory_size" in str(error):
            raise OutOfResources("the disk that queries spill to is full; free some space or set spill_directory") from error
        raise RequestError("a file cannot be read; check that it is whole and of the named format", reason=_first_line(error)) from error
    except duckdb.Error as error:
        log.debug("the engine refused a query", exc_info=True)
        raise RequestError("the SQL does not work on these data", reason=_first_line(error)) from error


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.partition(": ")[2] or text
