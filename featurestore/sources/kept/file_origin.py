"""The columns of the files of a source of which the store keeps a copy, and copies of those files on this machine."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore.compiler.typed_columns import without_rows
from featurestore.dsl.csv_format import Csv
from featurestore.dsl.source import Source
from featurestore.engine.session import Session
from featurestore.errors import FeatureStoreError, RequestError
from featurestore.files import folders, widening
from featurestore.files.copied_files import CopiedFiles, local_target, open_files
from featurestore.files.csv_files import CsvFiles, CsvWithKnownTypes
from featurestore.files.file_cache import FileCache, is_csv
from featurestore.files.footers import read_footer
from featurestore.files.http_files import NoRanges
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import FILES, merged_columns
from featurestore.values.arrow_types import ARROW_TYPES
from featurestore.values.humanize import format_size

FOOTERS = 1_000
"""Most files whose footers a plan reads, spread evenly over all; the copy looks at each file."""
CSV_BYTES = 256 << 20
"""Most bytes of CSV files that a plan reads to learn the types of their columns."""
_READERS = 8


def open_source_files(runtime: Runtime, source: Source) -> CopiedFiles:
    """The files of a source. Raises: as `open_files`."""
    return open_files(str(source.path), runtime.settings.source_properties(), runtime.source_folders, runtime.source_locations)


def digest_of(states: Mapping[str, str]) -> str:
    """A digest of files and their states."""
    digest = hashlib.sha256()
    for path, state in sorted(states.items()):
        digest.update(f"{len(path)}:{path}{len(state)}:{state}".encode())
    return digest.hexdigest()


def file_origin(
    runtime: Runtime, source: Source, known: pa.Schema | None, properties: Mapping[str, str]
) -> tuple[pa.Schema, Mapping[str, str]]:
    """The columns that the copy has when all files are copied, and the state of each file. `known` and `properties` are those of the copy.

    Raises: NotFound; RequestError, also for CSV files that are too large to learn the types of their columns; TypeMismatch; NotReady.
    """
    files = open_source_files(runtime, source)
    states = files.states()
    if known is not None and properties.get(FILES) == digest_of(states):
        return known, states
    refuse_mixed(states)
    partitions = folder_types(source, states, known)
    if any(map(is_csv, states)):
        found = _csv_columns(runtime, source, files, states, known, partitions)
    else:
        paths = list(states)[:: -(-len(states) // FOOTERS)]
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(zip(paths, pool.map(lambda path: _footer_columns(runtime, files, path, states[path]), paths), strict=True))
    with_folders = [(path, with_folder_columns(schema, path, partitions)) for path, schema in found]
    merged = merged_columns(known, with_folders, source.kept_table)
    refuse_missing_times(source, with_folders)
    return merged, states


def refuse_mixed(states: Mapping[str, str]) -> None:
    """Raise RequestError if only some of the files are CSV."""
    csv = next((path for path in states if is_csv(path)), None)
    other = next((path for path in states if not is_csv(path)), None)
    if csv is not None and other is not None:
        raise RequestError(f"{csv} is CSV and {other} is not; name them in two sources")


def refuse_missing_times(source: Source, files: Sequence[tuple[str, pa.Schema]]) -> None:
    """Raise RequestError for a file (path and columns) without a time column, whose rows would be dropped silently."""
    for name in (name for name in (source.timestamp, source.created) if name and name not in source.columns):
        for path, schema in files:
            if name.lower() not in {column.lower() for column in schema.names}:
                raise RequestError(f"the file {path} has no column '{name}', which source {source.name} needs", path=path, column=name)


def folder_types(source: Source, states: Mapping[str, str], known: pa.Schema | None) -> dict[str, str]:
    """The type of each column in folder names: declared, or as in the copy, or by all values. Raises: RequestError naming a value."""
    values = [folders.folder_values(path) for path in states]
    before = {field.name.lower(): widening.sql_name(field.type) for field in known or ()}
    names = {name for of_path in values for name in of_path}
    settled = {name: sql_type for name in names if (sql_type := before.get(name.lower())) in ("BIGINT", "DATE", "VARCHAR")}
    return folders.folder_types(values, {**{name: str(sql_type) for name, sql_type in settled.items()}, **source.partitions})


def with_folder_columns(schema: pa.Schema, path: str, types: Mapping[str, str]) -> pa.Schema:
    """The columns of a file with those of its folder names; a column of the file takes precedence."""
    names = {name.lower() for name in schema.names}
    for name in folders.folder_values(path):
        if name.lower() not in names:
            schema = schema.append(pa.field(name, ARROW_TYPES[types[name]]))
    return schema


def csv_format(source: Source, known: pa.Schema | None) -> Csv:
    """The format of a source's CSV files, with the types that the columns of the copy have."""
    csv = source.format or Csv()
    types = {field.name: sql_type for field in known or () if (sql_type := widening.sql_name(field.type)) and field.name not in csv.types}
    return CsvWithKnownTypes(**{entry.name: getattr(csv, entry.name) for entry in fields(Csv)}, before=types)


@contextmanager
def fetched(runtime: Runtime, files: CopiedFiles, states: Mapping[str, str]) -> Iterator[tuple[Session, dict[str, str]]]:
    """A session, and the path on this machine of each file, which it can read within the block.

    Raises: RequestError naming a file that is not in this state; OutOfResources. Errors of the block about these paths name the files.
    """
    places = sorted({str(Path(path).absolute().parent) for path in states if "://" not in path})
    with runtime.engine.session(places) as session:
        local: dict[str, str] = {}
        for number, (path, state) in enumerate(states.items()):
            target = local_target(session.folder / "copied", number, path)
            files.fetch(path, state, target)
            local[path] = str(target)
        try:
            yield session, local
        except FeatureStoreError as error:
            for path, target_path in local.items():
                error.message = error.message.replace(target_path, path)
                error.details = _renamed(error.details, target_path, path)
            raise


def _renamed(value: Any, old: str, new: str) -> Any:
    """A copy of a JSON-like value with one text in the place of another."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, Mapping):
        return {name: _renamed(inner, old, new) for name, inner in value.items()}
    return [_renamed(inner, old, new) for inner in value] if isinstance(value, list) else value


def _footer_columns(runtime: Runtime, files: CopiedFiles, path: str, state: str) -> pa.Schema:
    try:
        with files.opened(path) as file:
            return read_footer(path, file).schema
    except NoRanges:
        with fetched(runtime, files, {path: state}) as (_, local), open(local[path], "rb") as file:
            return read_footer(path, file).schema


def _csv_columns(
    runtime: Runtime,
    source: Source,
    files: CopiedFiles,
    states: Mapping[str, str],
    known: pa.Schema | None,
    partitions: Mapping[str, str],
) -> list[tuple[str, pa.Schema]]:
    """The columns of CSV files, with types that hold all values of all files."""
    sizes = {path: int(state.partition(":")[0]) for path, state in states.items()}
    whole = sum(sizes.values()) <= CSV_BYTES
    chosen = states if whole else {path: states[path] for path in [min(sizes, key=lambda path: sizes[path])]}
    with fetched(runtime, files, chosen) as (session, local):
        opened = FileCache(lambda: runtime.engine).open(
            {target: chosen[path] for path, target in local.items()}, csv_format(source, known), (), partitions
        )
        assert isinstance(opened, CsvFiles)
        schema = session.batches(without_rows(session.add("__fs_columns", opened.relation))).schema
        schema = pa.schema([field for field in schema if field.name not in opened.unknown])
    first = next(iter(chosen))
    types = (source.format or Csv()).types
    undeclared = [name for name in schema.names if name not in types and name not in partitions]
    if undeclared and not whole:
        raise RequestError(
            f"the CSV files of source {source.name} have {format_size(sum(sizes.values()))}, too much to read for the types of columns;"
            f" declare that of '{undeclared[0]}' and all others: format=Csv(types={{{undeclared[0]!r}: 'double', ...}}), or write Parquet"
        )
    return [(first, schema)]
