"""DuckDB as the engine: one in-memory database a session, bounded in memory, spilling to a folder of its own."""

import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from featurestore import private
from featurestore.compiler.expressions import literal, quoted
from featurestore.compiler.nanoseconds import cut
from featurestore.compiler.relations import FILE, FieldId, FilePart, IcebergFiles, LocalFiles
from featurestore.dsl.csv import Csv
from featurestore.engine import watch
from featurestore.engine.carried import refuse_uncarried
from featurestore.engine.connection import NOTHING, Reach, connect, connect_trusted, reach
from featurestore.engine.evaluator import Evaluator
from featurestore.engine.rereadable import Rereadable
from featurestore.engine.session import Relation
from featurestore.engine.statements import MAKES, READS, one_statement
from featurestore.engine.translation import translated
from featurestore.engine.watch import Watch
from featurestore.errors import FeatureStoreError
from featurestore.values import byte_sizes

if TYPE_CHECKING:
    from featurestore.settings import Settings

# The lowest level makes files 1 % larger and takes a quarter of the time off; giving up dictionaries early takes another quarter
# where most values are distinct, and makes no file larger.
PARQUET = "COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 4096"
FEW_VALUES = 10**9
"""Bytes that databases without tables may use, if the settings do not say otherwise."""


class DuckEngine:
    """Sessions with the settings' memory limit, threads and spill folder."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings

    @property
    def version(self) -> str:
        """What names the engine and its version, on which a hash may depend."""
        return f"duckdb {duckdb.__version__}"

    @contextmanager
    def session(self, folders: Iterable[str | Path] = ()) -> Iterator["DuckSession"]:
        """See Engine.session."""
        spill = self._settings.spill_path()
        private.make_folder(spill)
        own = tempfile.mkdtemp(prefix="session-", dir=spill)
        within, seen = reach([own, *folders]), watch.current()
        try:
            with _session(connect(self._config(own, seen), within), seen, within, Path(own)) as session:
                yield session
        finally:
            shutil.rmtree(own, ignore_errors=True)

    @contextmanager
    def brief(self) -> Iterator["DuckSession"]:
        """See Engine.brief."""
        with _session(self._lasting.cursor(), watch.current()) as session:
            yield session

    def _config(self, folder: str, seen: Watch) -> dict[str, str | int]:
        """The settings as DuckDB's configuration, within the bounds of a watch."""
        optional: dict[str, str | int | None] = {
            "memory_limit": _bytes(seen.bounds.memory or self._settings.memory_bytes()),
            "threads": self._settings.threads,
            "max_temp_directory_size": _bytes(seen.bounds.spill),
        }
        return {"temp_directory": folder, **{name: value for name, value in optional.items() if value}}

    @property
    def _few(self) -> str:
        return f"{self._settings.memory_bytes() or FEW_VALUES}B"

    @cached_property
    def _lasting(self) -> duckdb.DuckDBPyConnection:
        return connect({"threads": 1, "temp_directory": "", "memory_limit": self._few})

    @cached_property
    def memory(self) -> int:
        """The bytes that the queries of a session may use before they spill."""
        with self.session() as session:
            return session.memory

    @cached_property
    def evaluator(self) -> Evaluator:
        """For expressions over a handful of values; it stays open until `close`."""
        return Evaluator(self._few)

    def close(self) -> None:
        """Close what stays open between sessions."""
        if "evaluator" in self.__dict__:
            self.evaluator.close()
            del self.evaluator
        if "_lasting" in self.__dict__:
            self._lasting.close()
            del self._lasting


def _bytes(size: int | None) -> str | None:
    return None if size is None else f"{size}B"


@contextmanager
def _session(
    connection: duckdb.DuckDBPyConnection, seen: Watch, within: Reach = NOTHING, folder: Path | None = None
) -> Iterator["DuckSession"]:
    """A session of a connection, which is closed with it; `folder` is its own, for what it spills."""
    try:
        with seen.over(connection):
            yield DuckSession(connection, seen, within, folder)
    finally:
        connection.close()


class DuckSession:
    """One DuckDB connection; see `Session` for what each method does.

    Every text must be one statement, of the kind that the method is for: whatever a user's SQL becomes part of, it cannot end it and
    begin another one.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, seen: Watch, within: Reach = NOTHING, folder: Path | None = None) -> None:
        self._connection, self._watch, self._within, self._folder = connection, seen, within, folder
        self._failure: FeatureStoreError | None = None
        self._variables: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "a brief session has no folder"
        return self._folder

    @property
    def memory(self) -> int:
        ((text,),) = self._execute("SELECT current_setting('memory_limit')", READS)
        return byte_sizes.parse(text)

    def add(self, name: str, relation: Relation) -> None:
        if isinstance(relation, IcebergFiles):
            # Its columns are known; to ask for them would open the files once more.
            kinds = {column.name: column.sql_type for column in relation.columns}
            sql = self._reading(name, _iceberg_sql(relation), relation.paths)
        elif isinstance(relation, LocalFiles):
            kinds = self.schema(sql := self._reading(name, _local_sql(relation), relation.paths))
        else:
            kinds = self.schema(sql := self._registered(name, relation))
        columns = [_micros(column, kind) for column, kind in kinds.items()]
        self.run(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT {', '.join(columns)} FROM ({sql})")

    def set(self, variables: Mapping[str, int | bool]) -> None:
        for variable, value in variables.items():
            if self._variables.get(variable) != (text := str(value).lower()):
                self._execute(f"SET VARIABLE {quoted(variable)} = {text}", (duckdb.StatementType.SET,))
                self._variables[variable] = text

    def run(self, sql: str) -> None:
        self._execute(sql, MAKES)

    def schema(self, sql: str) -> dict[str, str]:
        rows = self._execute(f"DESCRIBE {sql}", READS)
        return {str(row[0]): str(row[1]) for row in rows}

    def batches(self, sql: str, rows: int = 65_536) -> pa.RecordBatchReader:
        with self._translated():
            self._watch.check()
            found = self._connection.sql(one_statement(self._connection, sql, READS))
            refuse_uncarried(found.columns, found.types)
            reader = found.to_arrow_reader(rows)
        return pa.RecordBatchReader.from_batches(reader.schema, self._checked(reader))

    def write(
        self, sql: str, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        private.make_folder_alike(folder)
        if self._folder is None or self._within.covers(folder / "rows.parquet"):
            rows, files = self._write(sql, folder, ids, group_rows, month_of)
            private.make_alike(folder)
            return rows, files
        # DuckDB may write to a session's own folder and nowhere else; what is in it is ours to move.
        own = self._folder / f"written-{uuid.uuid4().hex}"
        own.mkdir()
        rows, files = self._write(sql, own, ids, group_rows, month_of)
        targets = [folder / file.relative_to(own) for file in files]
        for file, target in zip(files, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, target)
        private.make_alike(folder)
        return rows, targets

    def _write(self, sql: str, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None) -> tuple[int, list[Path]]:
        fields = ", ".join(f"{quoted(name)}: {_field_id(found)}" for name, found in ids.items())
        options = f"FORMAT parquet, {PARQUET}, ROW_GROUP_SIZE {group_rows}, FIELD_IDS {{{fields}}}, RETURN_FILES true"
        target = folder / "rows.parquet"
        if month_of is not None:
            time = quoted(month_of)
            sql = f"SELECT *, year({time}) * 12 + month({time}) AS __fs_month FROM ({sql})"
            options, target = f"{options}, PARTITION_BY (__fs_month)", folder
        full = "the disk is full: neither data files nor what queries spill can be written; free some space and run again"
        copy = f"COPY ({sql}) TO {literal(str(target))} ({options})"
        ((rows, files),) = self._execute(copy, (duckdb.StatementType.COPY,), full)
        return int(rows), [Path(file) for file in sorted(files)] if rows else []

    def _passed_on(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Batches that DuckDB reads. It would make text of an error of ours, so that is kept."""
        try:
            yield from rows
        except FeatureStoreError as error:
            self._failure = error
            raise

    def _checked(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """The batches of a stream of DuckDB's; an error on the way comes as an OSError with its text."""
        with self._translated():
            for batch in reader:
                self._watch.check()
                yield batch

    @contextmanager
    def _translated(self, disk: str | None = None) -> Iterator[None]:
        try:
            with translated(self._watch, disk):
                yield
        except FeatureStoreError as error:
            if self._failure is not None and self._watch.error is None:
                raise self._failure from error
            raise

    def _execute(self, sql: str, kinds: tuple[duckdb.StatementType, ...], disk: str | None = None) -> list[tuple[Any, ...]]:
        """The rows of one statement of one of these kinds."""
        with self._translated(disk):
            self._watch.check()
            rows: list[tuple[Any, ...]] = self._connection.execute(one_statement(self._connection, sql, kinds)).fetchall()
            return rows

    def _registered(self, name: str, rows: Any) -> str:
        if isinstance(rows, pa.RecordBatchReader):
            rows = pa.RecordBatchReader.from_batches(rows.schema, self._passed_on(rows))
        elif isinstance(rows, Rereadable):
            again = rows.open_batches
            rows = Rereadable(rows.schema, lambda: self._passed_on(again()))
        with translated(self._watch):
            self._connection.register(f"{name}__arrow", rows)
        return f"SELECT * FROM {quoted(f'{name}__arrow')}"

    def _reading(self, name: str, sql: str, paths: Iterable[str]) -> str:
        """SQL of ours that reads these files; those that the session cannot reach are read for it, by a database that runs nothing else."""
        if all(map(self._within.covers, paths)):
            return sql
        copied = quoted(f"{name}__copy")
        with translated(self._watch), closing(connect_trusted({"threads": 2, "temp_directory": ""})) as trusted, self._watch.over(trusted):
            # Arrow has other types for some of DuckDB's, such as UUID.
            kinds = trusted.execute(one_statement(trusted, f"DESCRIBE {sql}", READS)).fetchall()
            columns = ", ".join(f"CAST({quoted(column)} AS {kind}) AS {quoted(column)}" for column, kind, *_ in kinds)
            rows = trusted.sql(one_statement(trusted, sql, READS)).to_arrow_reader(65_536)
            self.run(f"CREATE OR REPLACE TEMP TABLE {copied} AS SELECT {columns} FROM ({self._registered(name, rows)})")
            self._connection.unregister(f"{name}__arrow")
        return f"SELECT * FROM {copied}"


def _field_id(found: FieldId) -> str:
    if isinstance(found, int):
        return str(found)
    own, element = found
    return f"{{__duckdb_field_id: {own}, element: {_field_id(element)}}}"


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
    name = quoted(column)
    found = cut(name, kind)
    return name if found is None else f"{found} AS {name}"
