"""DuckDB as the engine: one in-memory database a session, bounded in memory, spilling to a folder of its own."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from featurestore.compiler.expressions import literal, quoted
from featurestore.compiler.relations import FILE, FieldId, FilePart, IcebergFiles, LocalFiles
from featurestore.dsl.csv import Csv
from featurestore.engine.evaluator import Evaluator
from featurestore.engine.session import Relation
from featurestore.engine.translation import translated

if TYPE_CHECKING:
    from featurestore.settings import Settings

# The lowest level makes files 1 % larger and takes a quarter of the time off; giving up dictionaries early takes another quarter
# where most values are distinct, and makes no file larger.
PARQUET = "COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 4096"
UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


KEEP_ZEROS = "SET disabled_optimizers = 'top_n_window_elimination'; SET asof_loop_join_threshold = 0"
"""Both ways of saving time take rows through `arg_max`, which makes -0.0 of a column, or of its lists, 0.0."""
_NOTHING_LOADED = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}


class DuckEngine:
    """Sessions with the settings' memory limit, threads and spill folder."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings

    @property
    def version(self) -> str:
        """What names the engine and its version, on which a hash may depend."""
        return f"duckdb {duckdb.__version__}"

    @contextmanager
    def session(self) -> Iterator["DuckSession"]:
        """A fresh database; its spill files are removed with it."""
        spill = self._settings.spill_path()
        spill.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="session-", dir=spill)
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": folder,
            **_NOTHING_LOADED,
        }
        if self._settings.memory_limit:
            config["memory_limit"] = self._settings.memory_limit
        if self._settings.threads:
            config["threads"] = self._settings.threads
        with translated():
            connection = duckdb.connect(config=config)
        try:
            with _session(connection) as session:
                yield session
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def brief(self) -> Iterator["DuckSession"]:
        """See Engine.brief."""
        with _session(self._lasting.cursor()) as session:
            yield session

    @cached_property
    def _lasting(self) -> duckdb.DuckDBPyConnection:
        with translated():
            return duckdb.connect(config={"threads": 1, "temp_directory": "", **_NOTHING_LOADED})

    @cached_property
    def memory(self) -> int:
        """The bytes that the queries of a session may use before they spill."""
        with self.session() as session:
            return session.memory

    @cached_property
    def evaluator(self) -> Evaluator:
        """For expressions over a handful of values; it stays open until `close`."""
        return Evaluator()

    def close(self) -> None:
        """Close what stays open between sessions."""
        if "evaluator" in self.__dict__:
            self.evaluator.close()
            del self.evaluator
        if "_lasting" in self.__dict__:
            self._lasting.close()
            del self._lasting


@contextmanager
def _session(connection: duckdb.DuckDBPyConnection) -> Iterator["DuckSession"]:
    """A session of a connection, which is closed with it."""
    try:
        # In a notebook the engine would draw bars of its own.
        connection.execute("SET timezone = 'UTC'; SET enable_progress_bar = false")
        connection.execute(KEEP_ZEROS)
        yield DuckSession(connection)
    finally:
        connection.close()


class DuckSession:
    """One DuckDB connection; see `Session` for what each method does."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @property
    def memory(self) -> int:
        ((text,),) = self._connection.execute("SELECT current_setting('memory_limit')").fetchall()
        amount, _, unit = str(text).partition(" ")
        return int(float(amount) * 1024 ** UNITS.index(unit))

    def add(self, name: str, relation: Relation) -> None:
        if isinstance(relation, IcebergFiles):
            sql = _iceberg_sql(relation)
        elif isinstance(relation, LocalFiles):
            sql = _local_sql(relation)
        else:
            with translated():
                self._connection.register(f"{name}__arrow", relation)
            sql = f"SELECT * FROM {quoted(f'{name}__arrow')}"
        with translated():
            columns = [_micros(column, kind) for column, kind in self.schema(sql).items()]
            self.run(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT {', '.join(columns)} FROM ({sql})")

    def set(self, variables: Mapping[str, int | bool]) -> None:
        for variable, value in variables.items():
            self.run(f"SET VARIABLE {quoted(variable)} = {str(value).lower()}")

    def run(self, sql: str) -> None:
        with translated():
            self._connection.execute(sql).fetchall()

    def schema(self, sql: str) -> dict[str, str]:
        with translated():
            rows = self._connection.execute(f"DESCRIBE {sql}").fetchall()
        return {str(row[0]): str(row[1]) for row in rows}

    def batches(self, sql: str, rows: int = 65_536) -> pa.RecordBatchReader:
        with translated():
            reader = self._connection.sql(sql).to_arrow_reader(rows)
        return pa.RecordBatchReader.from_batches(reader.schema, _translated_batches(reader))

    def write(
        self, sql: str, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        folder.mkdir(parents=True)
        fields = ", ".join(f"{quoted(name)}: {_field_id(found)}" for name, found in ids.items())
        options = f"FORMAT parquet, {PARQUET}, ROW_GROUP_SIZE {group_rows}, FIELD_IDS {{{fields}}}, RETURN_FILES true"
        target = folder / "rows.parquet"
        if month_of is not None:
            time = quoted(month_of)
            sql = f"SELECT *, year({time}) * 12 + month({time}) AS __fs_month FROM ({sql})"
            options, target = f"{options}, PARTITION_BY (__fs_month)", folder
        with translated(disk="the disk is full: neither data files nor what queries spill can be written; free some space and run again"):
            ((rows, files),) = self._connection.execute(f"COPY ({sql}) TO {literal(str(target))} ({options})").fetchall()
        return int(rows), [Path(file) for file in sorted(files)] if rows else []


def _field_id(found: FieldId) -> str:
    if isinstance(found, int):
        return str(found)
    own, element = found
    return f"{{__duckdb_field_id: {own}, element: {_field_id(element)}}}"


def _translated_batches(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with translated():
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
    return "\nUNION ALL ".join(_part_sql(part, files.csv) for part in files.parts)


def _part_sql(part: FilePart, csv: Csv | None) -> str:
    selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in part.select) or "*"
    paths = ", ".join(literal(path) for path in part.paths)
    options = ["hive_partitioning = false"]
    if any(FILE in sql for _, sql in part.select):
        options.append(f"filename = {literal(FILE)}")
    if csv is None:
        return f"SELECT {selected} FROM read_parquet([{paths}], {', '.join(options)})"
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in part.header)
    options += [
        "auto_detect = false",
        "header = true",
        f"columns = {{{columns}}}",
        f"delim = {literal(csv.delimiter)}",
        f"quote = {literal(csv.quote)}",
        f"escape = {literal(csv.escape)}",
        f"nullstr = [{', '.join(map(literal, csv.null))}]",
        f"encoding = {literal(csv.encoding)}",
    ]
    return f"SELECT {selected} FROM read_csv([{paths}], {', '.join(options)})"


def _micros(column: str, kind: str) -> str:
    """Nanoseconds cut down, also before 1970, where a cast would round them to the nearest microsecond."""
    name = quoted(column)
    make = {"TIMESTAMP_NS": "make_timestamp", "TIMESTAMPTZ_NS": "make_timestamptz"}.get(kind)
    return name if make is None else f"{make}((epoch_ns({name}) - ((epoch_ns({name}) % 1000) + 1000) % 1000) // 1000) AS {name}"
