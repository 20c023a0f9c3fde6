"""The DuckDB engine: one in-memory database per session, with a memory limit and its own spill folder."""

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
from featurestore.compiler.nanoseconds import truncate_sql
from featurestore.compiler.query import Query, render
from featurestore.compiler.relations import FILE, FieldId, FilePart, Handle, IcebergFiles, LocalFiles
from featurestore.dsl.csv_format import Csv
from featurestore.engine import watch
from featurestore.engine.arrow_types import refuse_inexact_types
from featurestore.engine.connection import NO_FILES, AllowedFolders, allowed_folders, connect, connect_trusted
from featurestore.engine.duckdb_errors import translate_errors
from featurestore.engine.evaluator import Evaluator
from featurestore.engine.rereadable import Rereadable
from featurestore.engine.session import Relation
from featurestore.engine.statements import READS, WRITES, one_statement
from featurestore.engine.watch import Watch
from featurestore.errors import FeatureStoreError
from featurestore.values import byte_sizes

if TYPE_CHECKING:
    from featurestore.settings import Settings

# The lowest compression level makes files 1 % larger and saves a quarter of the time; a small dictionary limit saves another quarter
# for mostly distinct values, and makes no file larger.
PARQUET = "COMPRESSION zstd, COMPRESSION_LEVEL 1, DICTIONARY_SIZE_LIMIT 4096"
SMALL_DATABASE_BYTES = 10**9
"""Default memory limit in bytes of databases without tables."""


class DuckEngine:
    """Opens sessions with the settings' memory limit, threads and spill folder."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings

    @property
    def version(self) -> str:
        """The engine's name and version, which may be part of a digest."""
        return f"duckdb {duckdb.__version__}"

    @contextmanager
    def session(self, folders: Iterable[str | Path] = ()) -> Iterator["DuckSession"]:
        """See Engine.session."""
        spill = self._settings.spill_path()
        private.make_folder(spill)
        folder = tempfile.mkdtemp(prefix="session-", dir=spill)
        within, watch_now = allowed_folders([folder, *folders]), watch.current()
        try:
            with _session(connect(self._config(folder, watch_now), within), watch_now, within, Path(folder)) as session:
                yield session
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def brief(self) -> Iterator["DuckSession"]:
        """See Engine.brief."""
        with _session(self._shared.cursor(), watch.current()) as session:
            yield session

    def _config(self, folder: str, seen: Watch) -> dict[str, str | int]:
        """The settings as DuckDB's configuration, within the limits of a watch."""
        optional: dict[str, str | int | None] = {
            "memory_limit": _bytes(seen.bounds.memory or self._settings.memory_bytes()),
            "threads": self._settings.threads,
            "max_temp_directory_size": _bytes(seen.bounds.spill),
        }
        return {"temp_directory": folder, **{name: value for name, value in optional.items() if value}}

    @property
    def _small_limit(self) -> str:
        return f"{self._settings.memory_bytes() or SMALL_DATABASE_BYTES}B"

    @cached_property
    def _shared(self) -> duckdb.DuckDBPyConnection:
        return connect({"threads": 1, "temp_directory": "", "memory_limit": self._small_limit})

    @cached_property
    def memory(self) -> int:
        """The memory limit of a session in bytes; queries spill beyond it."""
        with self.session() as session:
            return session.memory

    @cached_property
    def evaluator(self) -> Evaluator:
        """The evaluator for expressions over a few values; it stays open until `close`."""
        return Evaluator(self._small_limit)

    def close(self) -> None:
        """Close the connections that stay open between sessions."""
        if "evaluator" in self.__dict__:
            self.evaluator.close()
            del self.evaluator
        if "_shared" in self.__dict__:
            self._shared.close()
            del self._shared


def _bytes(size: int | None) -> str | None:
    return None if size is None else f"{size}B"


@contextmanager
def _session(
    connection: duckdb.DuckDBPyConnection, seen: Watch, within: AllowedFolders = NO_FILES, folder: Path | None = None
) -> Iterator["DuckSession"]:
    """A session that closes its connection; `folder` is the session's own folder."""
    try:
        with seen.over(connection):
            yield DuckSession(connection, seen, within, folder)
    finally:
        connection.close()


class DuckSession:
    """One DuckDB connection; see `Session` for what each method does.

    Each text must be a single statement of a type that the method allows, so that user SQL embedded in it cannot add another statement.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, seen: Watch, within: AllowedFolders = NO_FILES, folder: Path | None = None
    ) -> None:
        self._connection, self._watch, self._within, self._folder = connection, seen, within, folder
        self._failure: FeatureStoreError | None = None
        self._arrow: set[str] = set()
        self._created: dict[str, str] = {}

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "a brief session has no folder"
        return self._folder

    @property
    def memory(self) -> int:
        ((text,),) = self._execute("SELECT current_setting('memory_limit')", READS)
        return byte_sizes.parse(text)

    def add(self, name: str, relation: Relation) -> Handle:
        if isinstance(relation, IcebergFiles):
            # The columns are known; DESCRIBE would open the files once more.
            sql_types = {column.name: column.sql_type for column in relation.columns}
            sql = self._file_sql(name, _iceberg_sql(relation), relation.paths)
        elif isinstance(relation, LocalFiles):
            sql_types = self._types(sql := self._file_sql(name, _local_sql(relation), relation.paths))
        else:
            sql_types = self._types(sql := self._register(name, relation))
        columns = [_micros(column, sql_type) for column, sql_type in sql_types.items()]
        return self._create("VIEW", name, f"SELECT {', '.join(columns)} FROM ({sql})")

    def create_table(self, name: str, query: Query) -> Handle:
        return self._create("TABLE", name, render(query))

    def create_view(self, name: str, query: Query) -> Handle:
        return self._create("VIEW", name, render(query))

    def rename_table(self, table: Handle, name: str) -> Handle:
        self._run(f"DROP TABLE IF EXISTS {quoted(name)}")
        self._run(f"ALTER TABLE {quoted(table.name)} RENAME TO {quoted(name)}")
        self._created[name] = self._created.pop(table.name)
        return Handle(name)

    def _run(self, sql: str) -> None:
        self._execute(sql, WRITES)

    def clear(self) -> None:
        for name in self._arrow:
            self._connection.unregister(name)
        self._arrow.clear()
        for kind in ("view", "table"):
            for (name,) in self._execute(f"SELECT {kind}_name FROM duckdb_{kind}s() WHERE temporary AND NOT internal", READS):
                self._run(f"DROP {kind} {quoted(name)}")
        self._created.clear()

    def schema(self, query: Query | Handle) -> dict[str, str]:
        return self._types(render(query))

    def batches(self, query: Query | Handle, rows: int = 65_536) -> pa.RecordBatchReader:
        sql = render(query)
        with self._translated():
            self._watch.check()
            relation = self._connection.sql(one_statement(self._connection, sql, READS))
            refuse_inexact_types(relation.columns, relation.types)
            reader = relation.to_arrow_reader(rows)
        return pa.RecordBatchReader.from_batches(reader.schema, self._watch_batches(reader))

    def write(
        self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        sql = render(query)
        private.make_folder_like_parent(folder)
        if self._folder is None or self._within.covers(folder / "rows.parquet"):
            rows, files = self._write(sql, folder, ids, group_rows, month_of)
            private.match_folder_mode(folder)
            return rows, files
        # DuckDB may write only to the session's own folder; the files are moved from there.
        staging = self._folder / f"written-{uuid.uuid4().hex}"
        staging.mkdir()
        rows, files = self._write(sql, staging, ids, group_rows, month_of)
        targets = [folder / file.relative_to(staging) for file in files]
        for file, target in zip(files, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, target)
        private.match_folder_mode(folder)
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

    def _types(self, sql: str) -> dict[str, str]:
        return {str(row[0]): str(row[1]) for row in self._execute(f"DESCRIBE {sql}", READS)}

    def _create(self, kind: str, name: str, sql: str) -> Handle:
        # DuckDB replaces a table by a table only, and a view by a view.
        if self._created.get(name, kind) != kind:
            self._run(f"DROP {self._created[name]} IF EXISTS {quoted(name)}")
        self._run(f"CREATE OR REPLACE TEMP {kind} {quoted(name)} AS {sql}")
        self._created[name] = kind
        return Handle(name)

    def _forward(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches to DuckDB, keeping an error of ours, of which DuckDB would raise only the text."""
        try:
            yield from rows
        except FeatureStoreError as error:
            self._failure = error
            raise

    def _watch_batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Read a stream of DuckDB's; an error in it arrives as an OSError with DuckDB's text."""
        with self._translated():
            for batch in reader:
                self._watch.check()
                yield batch

    @contextmanager
    def _translated(self, disk: str | None = None) -> Iterator[None]:
        try:
            with translate_errors(self._watch, disk):
                yield
        except FeatureStoreError as error:
            if self._failure is not None and self._watch.error is None:
                raise self._failure from error
            raise

    def _execute(self, sql: str, allowed: tuple[duckdb.StatementType, ...], disk: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement of an allowed type, and return its rows."""
        with self._translated(disk):
            self._watch.check()
            rows: list[tuple[Any, ...]] = self._connection.execute(one_statement(self._connection, sql, allowed)).fetchall()
            return rows

    def _register(self, name: str, rows: Any) -> str:
        if isinstance(rows, pa.RecordBatchReader):
            rows = pa.RecordBatchReader.from_batches(rows.schema, self._forward(rows))
        elif isinstance(rows, Rereadable):
            again = rows.open_batches
            rows = Rereadable(rows.schema, lambda: self._forward(again()))
        with translate_errors(self._watch):
            self._connection.register(f"{name}__arrow", rows)
        self._arrow.add(f"{name}__arrow")
        return f"SELECT * FROM {quoted(f'{name}__arrow')}"

    def _file_sql(self, name: str, sql: str, paths: Iterable[str]) -> str:
        """SQL that reads these files; files outside of the allowed folders are first copied into the session by a trusted connection."""
        if all(map(self._within.covers, paths)):
            return sql
        copied = quoted(f"{name}__copy")
        with (
            translate_errors(self._watch),
            closing(connect_trusted({"threads": 2, "temp_directory": ""})) as trusted,
            self._watch.over(trusted),
        ):
            # Arrow changes some of DuckDB's types, such as UUID.
            types = trusted.execute(one_statement(trusted, f"DESCRIBE {sql}", READS)).fetchall()
            columns = ", ".join(f"CAST({quoted(column)} AS {sql_type}) AS {quoted(column)}" for column, sql_type, *_ in types)
            rows = trusted.sql(one_statement(trusted, sql, READS)).to_arrow_reader(65_536)
            self._run(f"CREATE OR REPLACE TEMP TABLE {copied} AS SELECT {columns} FROM ({self._register(name, rows)})")
            self._connection.unregister(f"{name}__arrow")
            self._arrow.discard(f"{name}__arrow")
        return f"SELECT * FROM {copied}"


def _field_id(field_id: FieldId) -> str:
    if isinstance(field_id, int):
        return str(field_id)
    list_id, element = field_id
    return f"{{__duckdb_field_id: {list_id}, element: {_field_id(element)}}}"


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


def _micros(column: str, sql_type: str) -> str:
    name = quoted(column)
    found = truncate_sql(name, sql_type)
    return name if found is None else f"{found} AS {name}"
