"""The DuckDB engine: one in-memory database per session, with a memory limit and its own spill folder."""

import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from featurestore import private
from featurestore.compiler.file_rows import iceberg_rows, local_rows
from featurestore.compiler.query import Query, all_rows, render
from featurestore.compiler.relations import FieldId, Handle, IcebergFiles, LocalFiles
from featurestore.compiler.session_rows import MEMORY_LIMIT, MONTH, by_month, in_microseconds, with_types
from featurestore.engine import watch
from featurestore.engine.arrow_types import refuse_inexact_types
from featurestore.engine.connection import NO_FILES, AllowedFolders, allowed_folders, connect, connect_trusted, small_cursor
from featurestore.engine.duckdb_errors import translate_errors
from featurestore.engine.evaluator import Evaluator
from featurestore.engine.rereadable import Rereadable
from featurestore.engine.session import Relation
from featurestore.engine.statements import READS, WRITES, Kind, copy_to_parquet, create, describe, drop, one_statement, rename_table
from featurestore.engine.watch import Watch
from featurestore.errors import FeatureStoreError
from featurestore.values import byte_sizes

SMALL_DATABASE_BYTES = 10**9
"""Default memory limit in bytes of databases without tables."""


class EngineSettings(Protocol):
    """What an engine takes from the settings."""

    @property
    def threads(self) -> int | None:
        """See Settings."""

    def memory_bytes(self) -> int | None:
        """See Settings."""

    def spill_path(self) -> Path:
        """See Settings."""


class DuckEngine:
    """Opens sessions with the settings' memory limit, threads and spill folder."""

    def __init__(self, settings: EngineSettings) -> None:
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
        with _session(small_cursor("sessions", self._small_limit), watch.current()) as session:
            yield session

    def _config(self, folder: str, watch: Watch) -> dict[str, str | int]:
        """The settings as DuckDB's configuration, within the limits of a watch."""
        optional: dict[str, str | int | None] = {
            "memory_limit": _bytes(watch.bounds.memory or self._settings.memory_bytes()),
            "threads": self._settings.threads,
            "max_temp_directory_size": _bytes(watch.bounds.spill),
        }
        return {"temp_directory": folder, **{name: value for name, value in optional.items() if value}}

    @property
    def _small_limit(self) -> str:
        return f"{self._settings.memory_bytes() or SMALL_DATABASE_BYTES}B"

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
        """Close the connection that stays open between sessions."""
        if "evaluator" in self.__dict__:
            self.evaluator.close()
            del self.evaluator


def _bytes(size: int | None) -> str | None:
    return None if size is None else f"{size}B"


@contextmanager
def _session(
    connection: duckdb.DuckDBPyConnection, watch: Watch, within: AllowedFolders = NO_FILES, folder: Path | None = None
) -> Iterator["DuckSession"]:
    """A session that closes its connection; `folder` is the session's own folder."""
    try:
        with watch.over(connection):
            yield DuckSession(connection, watch, within, folder)
    finally:
        connection.close()


class DuckSession:
    """One DuckDB connection; see `Session` for what each method does.

    Each text must be a single statement of a type that the method allows, so that user SQL embedded in it cannot add another statement.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, watch: Watch, within: AllowedFolders = NO_FILES, folder: Path | None = None
    ) -> None:
        self._connection, self._watch, self._within, self._folder = connection, watch, within, folder
        self._failure: FeatureStoreError | None = None
        self._arrow: set[str] = set()
        self._created: dict[str, Kind] = {}

    @property
    def folder(self) -> Path:
        assert self._folder is not None, "a brief session has no folder"
        return self._folder

    @property
    def memory(self) -> int:
        ((text,),) = self._execute(render(MEMORY_LIMIT), READS)
        return byte_sizes.parse(text)

    def add(self, name: str, relation: Relation) -> Handle:
        if isinstance(relation, IcebergFiles):
            # The columns are known; DESCRIBE would open the files once more.
            sql_types = {column.name: column.sql_type for column in relation.columns}
            rows = self._from_files(name, iceberg_rows(relation), relation.paths)
        elif isinstance(relation, LocalFiles):
            sql_types = self.schema(rows := self._from_files(name, local_rows(relation), relation.paths))
        else:
            sql_types = self.schema(rows := self._register(name, relation))
        return self._create("VIEW", name, in_microseconds(rows, sql_types))

    def create_table(self, name: str, query: Query) -> Handle:
        return self._create("TABLE", name, query)

    def create_view(self, name: str, query: Query) -> Handle:
        return self._create("VIEW", name, query)

    def rename_table(self, table: Handle, name: str) -> Handle:
        self._run(drop("TABLE", name))
        self._run(rename_table(table.name, name))
        self._created[name] = self._created.pop(table.name)
        return Handle(name)

    def _run(self, sql: str) -> None:
        self._execute(sql, WRITES)

    def clear(self) -> None:
        for name in self._arrow:
            self._connection.unregister(name)
        self._arrow.clear()
        for name, kind in self._created.items():
            self._run(drop(kind, name))
        self._created.clear()

    def schema(self, query: Query | Handle) -> dict[str, str]:
        return {str(row[0]): str(row[1]) for row in self._execute(describe(render(query)), READS)}

    def batches(self, query: Query | Handle, rows: int = 65_536) -> pa.RecordBatchReader:
        sql = render(query)
        with self._translating_errors():
            self._watch.check()
            relation = self._connection.sql(one_statement(self._connection, sql, READS))
            refuse_inexact_types(relation.columns, relation.types)
            reader = relation.to_arrow_reader(rows)
        return pa.RecordBatchReader.from_batches(reader.schema, self._watch_batches(reader))

    def write(
        self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None = None
    ) -> tuple[int, list[Path]]:
        private.make_folder_like_parent(folder)
        if self._folder is None or self._within.covers(folder / "rows.parquet"):
            rows, files = self._write(query, folder, ids, group_rows, month_of)
            private.match_folder_mode(folder)
            return rows, files
        # DuckDB may write only to the session's own folder; the files are moved from there.
        staging = self._folder / f"written-{uuid.uuid4().hex}"
        staging.mkdir()
        rows, files = self._write(query, staging, ids, group_rows, month_of)
        targets = [folder / file.relative_to(staging) for file in files]
        for file, target in zip(files, targets, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, target)
        private.match_folder_mode(folder)
        return rows, targets

    def write_divided(self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, by: str) -> dict[int, list[Path]]:
        private.make_folder_like_parent(folder)
        divided: dict[int, list[Path]] = {}
        for file in self._copy(copy_to_parquet(query, folder, ids, group_rows, partition=by))[1]:
            divided.setdefault(int(file.parent.name.rpartition("=")[2]), []).append(file)
        return divided

    def _write(
        self, query: Query, folder: Path, ids: Mapping[str, FieldId], group_rows: int, month_of: str | None
    ) -> tuple[int, list[Path]]:
        if month_of is None:
            copy = copy_to_parquet(query, folder / "rows.parquet", ids, group_rows)
        else:
            copy = copy_to_parquet(by_month(query, month_of), folder, ids, group_rows, partition=MONTH)
        return self._copy(copy)

    def _copy(self, copy: str) -> tuple[int, list[Path]]:
        full = "the disk is full: neither data files nor what queries spill can be written; free some space and run again"
        ((rows, files),) = self._execute(copy, (duckdb.StatementType.COPY,), full)
        return int(rows), [Path(file) for file in sorted(files)] if rows else []

    def _create(self, kind: Kind, name: str, query: Query) -> Handle:
        # DuckDB replaces a table by a table only, and a view by a view.
        if (before := self._created.get(name, kind)) != kind:
            self._run(drop(before, name))
        self._run(create(kind, name, query))
        self._created[name] = kind
        return Handle(name)

    def _forward(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass batches to DuckDB, and keep a FeatureStoreError that they raise: DuckDB would raise only its text."""
        try:
            yield from rows
        except FeatureStoreError as error:
            self._failure = error
            raise

    def _watch_batches(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Read a stream of DuckDB's; an error in it arrives as an OSError with DuckDB's text."""
        with self._translating_errors():
            for batch in reader:
                self._watch.check()
                yield batch

    @contextmanager
    def _translating_errors(self, disk: str | None = None) -> Iterator[None]:
        try:
            with translate_errors(self._watch, disk):
                yield
        except FeatureStoreError as error:
            if self._failure is not None and self._watch.error is None:
                raise self._failure from error
            raise

    def _execute(self, sql: str, allowed: tuple[duckdb.StatementType, ...], disk: str | None = None) -> list[tuple[Any, ...]]:
        """Run one statement of an allowed type, and return its rows."""
        with self._translating_errors(disk):
            self._watch.check()
            rows: list[tuple[Any, ...]] = self._connection.execute(one_statement(self._connection, sql, allowed)).fetchall()
            return rows

    def _register(self, name: str, rows: Any) -> Query:
        if isinstance(rows, pa.RecordBatchReader):
            rows = pa.RecordBatchReader.from_batches(rows.schema, self._forward(rows))
        elif isinstance(rows, Rereadable):
            again = rows.open_batches
            rows = Rereadable(rows.schema, lambda: self._forward(again()))
        with translate_errors(self._watch):
            self._connection.register(f"{name}__arrow", rows)
        self._arrow.add(f"{name}__arrow")
        return all_rows(Handle(f"{name}__arrow"))

    def _from_files(self, name: str, query: Query, paths: Iterable[str]) -> Query:
        """A query that reads these files; files outside of the allowed folders are first copied into the session by a trusted
        connection.
        """
        if all(map(self._within.covers, paths)):
            return query
        with (
            translate_errors(self._watch),
            closing(connect_trusted({"threads": 2, "temp_directory": ""})) as trusted,
            self._watch.over(trusted),
        ):
            # Arrow changes some of DuckDB's types, such as UUID.
            described = trusted.execute(one_statement(trusted, describe(render(query)), READS)).fetchall()
            types = {str(column): str(sql_type) for column, sql_type, *_ in described}
            rows = trusted.sql(one_statement(trusted, render(query), READS)).to_arrow_reader(65_536)
            copied = self._create("TABLE", f"{name}__copy", with_types(self._register(name, rows), types))
            self._connection.unregister(f"{name}__arrow")
            self._arrow.discard(f"{name}__arrow")
        return all_rows(copied)
