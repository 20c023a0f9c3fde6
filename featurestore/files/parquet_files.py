"""Read Parquet files as one relation, after checking the types of every file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from featurestore.compiler.file_columns import file_column, folder_column
from featurestore.compiler.relations import FilePart, LocalFiles
from featurestore.files import folders, widening
from featurestore.files.footers import Footer
from featurestore.files.merged_columns import Columns, incompatible_types, merge_columns, too_many_digits
from featurestore.values.arrow_types import ARROW_TYPES


@dataclass(frozen=True)
class ParquetFiles:
    """Parquet files as one relation: its columns with their Arrow types, and the number of rows."""

    relation: LocalFiles
    schema: pa.Schema
    columns: Columns
    rows: int


@dataclass(frozen=True)
class _FileColumns:
    """The columns of a file with their types, and the names of further columns whose values are in its folder names."""

    types: Mapping[str, pa.DataType]
    folders: tuple[str, ...]


def read_parquet_files(
    paths: Sequence[str], footers: Sequence[Footer], partitions: Mapping[str, str] = MappingProxyType({})
) -> ParquetFiles:
    """Read Parquet files, given with their footers. A file's column takes precedence over one of its folder, whose type `partitions` may
    declare.

    Raises: TypeMismatch naming the column and the files, for incompatible types in two files and for decimals beyond 38 digits.
    """
    path_values = [folders.folder_values(path) for path in paths]
    groups: dict[tuple[pa.Schema, tuple[str, ...]], list[int]] = {}
    for index, (footer, values) in enumerate(zip(footers, path_values, strict=True)):
        groups.setdefault((footer.schema, tuple(values)), []).append(index)
    file_columns = [_file_columns(schema, values) for schema, values in groups]
    firsts = [paths[places[0]] for places in groups.values()]
    columns = merge_columns(firsts, [[*columns_of_file.types, *columns_of_file.folders] for columns_of_file in file_columns])
    from_folders = folders.folder_types(path_values, partitions)
    types = {name: _common_type(name, firsts, file_columns, from_folders) for name in columns.names.values()}
    plain = len(groups) == 1 and not file_columns[0].folders
    parts = [
        FilePart(tuple(paths[index] for index in places), () if plain else _select(columns_of_file, types, from_folders))
        for columns_of_file, places in zip(file_columns, groups.values(), strict=True)
    ]
    schema = pa.schema([pa.field(name, data_type) for name, (data_type, _) in types.items()])
    return ParquetFiles(LocalFiles(tuple(parts)), schema, columns, sum(footer.rows for footer in footers))


def _file_columns(schema: pa.Schema, folder_names: Sequence[str]) -> _FileColumns:
    in_file = {name.lower() for name in schema.names}
    folder_columns = tuple(name for name in folder_names if name.lower() not in in_file)
    return _FileColumns(dict(zip(schema.names, schema.types, strict=True)), folder_columns)


def _common_type(
    name: str, paths: Sequence[str], file_columns: Sequence[_FileColumns], from_folders: Mapping[str, str]
) -> tuple[pa.DataType, bool]:
    """The type of a column, and whether all files that have the column have this type. Raises: TypeMismatch."""
    first: dict[str, tuple[pa.DataType, str]] = {}
    for path, columns in zip(paths, file_columns, strict=True):
        data_type = _column_type(name, columns, from_folders)
        if data_type is not None:
            first.setdefault(str(data_type), (data_type, path))
    types = list(first.values())
    for data_type, path in types:
        if widening.has_wide_decimals(data_type):
            raise too_many_digits(name, path, data_type)
    common = widening.common_type([data_type for data_type, _ in types])
    if len(types) == 1:
        return types[0][0], True
    if common is None:
        for number in range(1, len(types)):
            if widening.common_type([data_type for data_type, _ in types[: number + 1]]) is None:
                (data_type, path), (other, other_path) = _first_conflict(types[: number + 1])
                raise incompatible_types(name, (path, data_type), (other_path, other))
        raise AssertionError("one of several incompatible types is the first conflict")
    return common, len({widening.plain(data_type) for data_type, _ in types}) == 1


def _first_conflict(types: Sequence[tuple[pa.DataType, str]]) -> tuple[tuple[pa.DataType, str], tuple[pa.DataType, str]]:
    """The last type, and the first one before it that is incompatible with it."""
    last = types[-1]
    return next((earlier for earlier in types[:-1] if widening.common_type([earlier[0], last[0]]) is None), types[0]), last


def _column_type(name: str, file: _FileColumns, from_folders: Mapping[str, str]) -> pa.DataType | None:
    """The type of a column in a file, or of its values in the folder names; None if it is in neither."""
    in_file = next((data_type for column, data_type in file.types.items() if column.lower() == name.lower()), None)
    if in_file is not None:
        return in_file
    folder = next((column for column in file.folders if column.lower() == name.lower()), None)
    return None if folder is None else ARROW_TYPES[from_folders[folder]]


def _select(
    file: _FileColumns, types: Mapping[str, tuple[pa.DataType, bool]], from_folders: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """The name of each column, and the SQL that reads it from a file in the common type; NULL for a column that the file lacks."""
    in_file = {name.lower(): name for name in file.types}
    in_folders = {name.lower(): name for name in file.folders}
    selected: list[tuple[str, str]] = []
    for name, (data_type, same) in types.items():
        target = widening.sql_name(widening.plain(data_type))
        if name.lower() in in_file:
            column = in_file[name.lower()]
            selected.append((name, file_column(column, None if same else target, _nanoseconds(file.types[column]))))
        elif name.lower() in in_folders:
            column = in_folders[name.lower()]
            selected.append((name, folder_column(column, from_folders[column], target)))
        else:
            selected.append((name, file_column(None, target)))
    return tuple(selected)


def _nanoseconds(data_type: pa.DataType) -> str:
    """The DuckDB type of nanosecond timestamps, or of lists of them; empty for all other types."""
    if pa.types.is_list(data_type) or pa.types.is_large_list(data_type):
        item = _nanoseconds(data_type.value_type)
        return item and f"{item}[]"
    if not pa.types.is_timestamp(data_type) or data_type.unit != "ns":
        return ""
    return "TIMESTAMPTZ_NS" if data_type.tz else "TIMESTAMP_NS"
