"""Copy the rows of new and changed files of a source into the table that the store keeps, and delete those of files that are gone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from featurestore.compiler.copied_rows import distinct_files
from featurestore.compiler.relations import LocalFiles
from featurestore.compiler.typed_columns import without_rows
from featurestore.dsl.source import Source
from featurestore.engine.session import Session
from featurestore.files.copied_files import CopiedFiles, FolderFiles
from featurestore.files.csv_files import CsvFiles
from featurestore.files.file_cache import FileCache
from featurestore.files.listing import first_changed
from featurestore.files.object_files import changed
from featurestore.lakehouse import row_swap, scans, tables
from featurestore.lakehouse.casting import cast_batch
from featurestore.lakehouse.evolution import extend_columns
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import FILE, FILES, STATE, copied_columns, find_copy, make_copy, merged_columns
from featurestore.sources.kept.file_origin import (
    csv_format,
    digest_of,
    fetched,
    file_origin,
    folder_types,
    open_source_files,
    refuse_missing_times,
    refuse_mixed,
    with_folder_columns,
)

PIECE_BYTES = 256 << 20
PIECE_FILES = 500
"""A commit has the rows of at most so many files, and of no more than one if they have more than PIECE_BYTES together."""
GROUP_BYTES = 32 << 20
"""Files that have no more bytes together become one data file."""

OnCopied = Callable[[int, int], None]
"""Called with the number of files that were copied, and of those to copy."""


def copy_files(runtime: Runtime, source: Source, report: OnCopied, hold: Callable[[Table], None]) -> bool:
    """Bring the copy of a source's files up to date, in pieces that each are one commit: a run that is stopped continues there.

    `hold` is called before the first of them. Returns whether there was anything to copy.
    Raises: NotFound if no file matches; RequestError, TypeMismatch naming a file; CommitConflict if another process copies too; NotReady;
    OutOfResources. Pieces that were committed stay.
    """
    files = open_source_files(runtime, source)
    states, granted = files.states(), find_copy(runtime, source)
    if granted is not None and granted.table.properties.get(FILES) == digest_of(states):
        return False
    refuse_mixed(states)
    if granted is None:
        granted = make_copy(runtime, source, file_origin(runtime, source, None, {})[0])
    hold(granted.table)
    stored = _stored_states(runtime, granted)
    new = {path: state for path, state in states.items() if stored.get(path) != state}
    gone = [path for path in stored if path not in states]
    copy = _Copy(runtime, source, files, granted, folder_types(source, states, copied_columns(granted)), stored)
    done = 0
    for piece in _pieces(new):
        done += len(piece)
        copy.add(piece, gone, {FILES: digest_of(states)} if done == len(new) else {})
        gone = []
        report(done, len(new))
    if not new:
        copy.add({}, gone, {FILES: digest_of(states)})
    return True


def _stored_states(runtime: Runtime, granted: Granted) -> dict[str, str]:
    """The state of each file with rows in the copy, as it was when they were copied."""
    snapshot_id = granted.table.snapshot_id
    if snapshot_id is None:
        return {}
    with runtime.engine.session(data_folders(granted)) as session:
        rows = session.add("__fs_copied", scans.scan_snapshot(granted, snapshot_id, columns=[FILE, STATE]))
        found = session.batches(distinct_files(rows, FILE, STATE)).read_all()
    return dict(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))


def _pieces(states: Mapping[str, str]) -> Iterator[dict[str, str]]:
    piece: dict[str, str] = {}
    size = 0
    for path, state in states.items():
        bytes_of_file = int(state.partition(":")[0])
        if piece and (size + bytes_of_file > PIECE_BYTES or len(piece) == PIECE_FILES):
            yield piece
            piece, size = {}, 0
        piece[path] = state
        size += bytes_of_file
    if piece:
        yield piece


@dataclass(frozen=True)
class _Opened:
    """A file that can be read, and its columns, without those that have no value in any row."""

    relation: LocalFiles
    schema: pa.Schema


@dataclass(frozen=True)
class _Copy:
    """Adds pieces of files to a copy."""

    runtime: Runtime
    source: Source
    files: CopiedFiles
    granted: Granted
    partitions: Mapping[str, str]
    stored: Mapping[str, str]

    def add(self, piece: Mapping[str, str], gone: Sequence[str], properties: Mapping[str, str]) -> None:
        """Add the rows of these files (path -> state) and delete those that they had before, and those of files that are gone."""
        with fetched(self.runtime, self.files, piece) as (session, local):
            opened = {path: self._open(session, number, local[path], state) for number, (path, state) in enumerate(piece.items())}
            self._extend({path: with_folder_columns(readers.schema, path, self.partitions) for path, readers in opened.items()})
            schema = tables.arrow_schema(self.granted.table)
            groups = [self._read_group(session, [(path, piece[path], opened[path]) for path in group], schema) for group in _groups(piece)]
            removed = pa.array([*(path for path in piece if path in self.stored), *gone], pa.string())
            matched = row_swap.matching(self.granted, FILE, removed)
            row_swap.swap(self.granted, matched, groups, summary={}, properties=properties)

    def _open(self, session: Session, number: int, path: str, state: str) -> _Opened:
        known = copied_columns(self.granted)
        opened = FileCache(lambda: self.runtime.engine).open({path: state}, csv_format(self.source, known), (), self.partitions)
        empty = set(opened.unknown) if isinstance(opened, CsvFiles) else set()
        name = f"__fs_file_{number}"
        schema = session.batches(without_rows(session.add(name, opened.relation))).schema
        return _Opened(opened.relation, pa.schema([field for field in schema if field.name not in empty]))

    def _extend(self, columns: Mapping[str, pa.Schema]) -> None:
        refuse_missing_times(self.source, list(columns.items()))
        table = self.granted.table
        extend_columns(table, merged_columns(copied_columns(self.granted), columns.items(), table.name))

    def _read_group(self, session: Session, group: Sequence[tuple[str, str, _Opened]], schema: pa.Schema) -> pa.RecordBatchReader:
        """The rows of files (path, state, relation), with the columns of the copy."""
        return pa.RecordBatchReader.from_batches(schema, self._read_files(session, group, schema))

    def _read_files(self, session: Session, group: Sequence[tuple[str, str, _Opened]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for path, state, opened in group:
            yield from _read_file(session, path, state, opened, schema)
            # Files of this machine are read in place: what was changed meanwhile is found before the commit.
            if isinstance(self.files, FolderFiles) and first_changed({path: state}) is not None:
                raise changed(path)


def _groups(piece: Mapping[str, str]) -> list[list[str]]:
    """The files of a piece in groups that each become one data file."""
    groups: list[list[str]] = []
    size = 0
    for path, state in piece.items():
        bytes_of_file = int(state.partition(":")[0])
        if not groups or size + bytes_of_file > GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(path)
        size += bytes_of_file
    return groups


def _read_file(session: Session, path: str, state: str, opened: _Opened, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    names = {name.lower(): name for name in opened.schema.names}
    constants = {FILE: path, STATE: state}
    for batch in session.batches(session.add("__fs_file_rows", opened.relation)):
        columns = []
        for field in schema:
            if field.name in constants:
                columns.append(pa.repeat(pa.scalar(constants[field.name]), batch.num_rows))
            elif (name := names.get(field.name.lower())) is None:
                columns.append(pa.nulls(batch.num_rows, field.type))
            else:
                columns.append(batch.column(name))
        yield cast_batch(pa.RecordBatch.from_arrays(columns, schema.names), schema, path)
