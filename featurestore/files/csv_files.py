"""Read CSV files as one relation, with types that are declared, or inferred from all rows of all files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from featurestore.compiler import csv_types
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.file_columns import csv_column, file_column, first_misfit, fits_kind, folder_column, text_kinds
from featurestore.compiler.relations import FILE, FilePart, Handle, LocalFiles
from featurestore.dsl.csv_format import Csv
from featurestore.engine.results import single_row
from featurestore.engine.session import Engine, Session
from featurestore.errors import NotFound, RequestError
from featurestore.files import csv_text, folders
from featurestore.files.merged_columns import Columns, merge_columns
from featurestore.values.value_types import ZONED

_RAW = "__fs_csv"


@dataclass(frozen=True)
class CsvWithKnownTypes(Csv):
    """A format with the types that earlier runs inferred, which later files must not change."""

    before: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CsvFiles:
    """`relation` reads the files. `inferred` has the types inferred from rows, `unknown` the columns without any value."""

    relation: LocalFiles
    columns: Columns
    inferred: Mapping[str, str]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Files of one header: `header_names` maps the names of all files' columns to those here, `folders` to what only folders tell."""

    paths: tuple[str, ...]
    header: tuple[str, ...]
    header_names: Mapping[str, str]
    folders: Mapping[str, str]


def read_csv_files(
    engine: Engine, paths: Sequence[str], csv: Csv, times: Sequence[str], partitions: Mapping[str, str] = MappingProxyType({})
) -> CsvFiles:
    """CSV files of a format; `times` are columns that must hold dates or times, and `partitions` declares types of columns in folder
    names.

    Raises: RequestError naming file, line, column, the text, and what was wanted; NotFound for a declared column.
    """
    headers = [csv_text.header(path, csv) for path in paths]
    from_paths = [folders.folder_values(path) for path in paths]
    from_folders = folders.folder_types(from_paths, partitions)
    columns_of_files = [
        (*header, *_columns_from_paths(header, path_values)) for header, path_values in zip(headers, from_paths, strict=True)
    ]
    columns = merge_columns(paths, columns_of_files)
    for name in csv.types:
        if name not in columns.names.values():
            raise NotFound("column", name, columns.names.values(), f"{paths[0]}, whose type the format declares")
    times = [columns.names[name.lower()] for name in times if name.lower() in columns.names]
    parts = _parts(paths, headers, from_paths, columns)
    texts = [name for name in columns.names.values() if any(name in part.header_names for part in parts)]
    column_types = _column_types(engine, parts, csv, texts, [name for name in times if name in texts])
    types = {name: column_type or (ZONED if name in times else "VARCHAR") for name, column_type in column_types.items()}
    typed_parts = tuple(_typed_part(part, columns, types, from_folders, csv) for part in parts)
    inferred = {name: column_type for name, column_type in column_types.items() if column_type and name not in csv.types}
    return CsvFiles(
        LocalFiles(typed_parts, csv), columns, inferred, tuple(name for name, column_type in column_types.items() if column_type is None)
    )


def _columns_from_paths(header: Sequence[str], from_paths: Mapping[str, str | None]) -> list[str]:
    in_header = {name.lower() for name in header}
    return [name for name in from_paths if name.lower() not in in_header]


def _parts(
    paths: Sequence[str], headers: Sequence[tuple[str, ...]], from_paths: Sequence[Mapping[str, str | None]], columns: Columns
) -> list[_Part]:
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for path, header, names_in_path in zip(paths, headers, from_paths, strict=True):
        groups.setdefault((header, tuple(_columns_from_paths(header, names_in_path))), []).append(path)
    names = columns.names
    return [
        _Part(
            tuple(group_paths), header, {names[name.lower()]: name for name in header}, {names[name.lower()]: name for name in path_columns}
        )
        for (header, path_columns), group_paths in groups.items()
    ]


def _column_types(engine: Engine, parts: Sequence[_Part], csv: Csv, names: Sequence[str], times: Sequence[str]) -> dict[str, str | None]:
    """The type of each column, None if it has no value; all values have been checked against it. Raises: RequestError."""
    before = csv.before if isinstance(csv, CsvWithKnownTypes) else {}
    known_types = {**{name: column_type for name, column_type in before.items() if name in names}, **csv_types.declared_types(csv)}
    raw = LocalFiles(tuple(_text_part(part, names) for part in parts), csv)
    with engine.session(raw.folders) as session:
        try:
            rows = session.add(_RAW, raw)
            bits = _text_kinds(session, rows, names, known_types, csv, times)
        except RequestError as error:
            raise _unreadable(parts, csv, error) from error
        for index, name in enumerate(names):
            declared = name in csv.types
            if (name not in known_types and name in times and bits[index] & csv_types.OTHER) or (
                name in known_types and bits[index] and not _is_compatible(bits[index], known_types[name], declared=declared)
            ):
                column_type = known_types.get(name, ZONED)
                raise _misfit(session, rows, parts, csv, name, column_type, declared=declared, time=name in times)
    return {name: known_types[name] if name in known_types else csv_types.inferred_type(bits[index]) for index, name in enumerate(names)}


def _text_kinds(
    session: Session, rows: Handle, names: Sequence[str], fixed: Mapping[str, str], csv: Csv, times: Sequence[str]
) -> list[int]:
    """The bit set of the kinds of texts in each column; for a declared column, 1 for texts that fit and 2 for others."""
    columns = [
        fits_kind(name, fixed[name], csv) if name in csv.types else csv_types.kinds_sql(quote_name(name), csv, time=name in times)
        for name in names
    ]
    row = single_row(session, text_kinds(rows, columns))
    return [int(row[f"b{index}"] or 0) for index in range(len(names))]


def _is_compatible(bits: int, column_type: str, *, declared: bool) -> bool:
    """Whether texts of these kinds can be read as a type: a declared one, or one that was inferred before."""
    if declared:
        return bits == 1
    inferred = csv_types.inferred_type(bits)
    return column_type == "VARCHAR" or inferred == column_type or csv_types.inferred_type(bits | csv_types.BITS[column_type]) == column_type


def _text_part(part: _Part, names: Sequence[str]) -> FilePart:
    items = [
        (name, file_column(part.header_names[name], None) if name in part.header_names else file_column(None, "VARCHAR")) for name in names
    ]
    return FilePart(part.paths, ((FILE, FILE), *items), part.header)


def _typed_part(part: _Part, columns: Columns, types: Mapping[str, str], from_folders: Mapping[str, str], csv: Csv) -> FilePart:
    selected: list[tuple[str, str]] = []
    for name in columns.names.values():
        column_type = types.get(name)
        if name in part.header_names and column_type is not None:
            value = csv_column(part.header_names[name], column_type, csv)
        elif name in part.folders:
            value = folder_column(part.folders[name], from_folders[part.folders[name]], column_type)
        else:
            value = file_column(None, column_type or from_folders[name])
        selected.append((name, value))
    return FilePart(part.paths, tuple(selected), part.header)


def _unreadable(parts: Sequence[_Part], csv: Csv, error: RequestError) -> RequestError:
    """The reason, with file and line, why DuckDB cannot read the files."""
    for part in parts:
        for path in part.paths:
            if (problem := csv_text.problem(path, csv, part.header)) is not None:
                return problem
    paths = [path for part in parts for path in part.paths]
    shown = paths[0] if len(paths) == 1 else f"{paths[0]} or another of {len(paths)} files"
    message = f"{shown} cannot be read as CSV; check that all lines end in the same way and all quotes are closed"
    return RequestError(message, reason=error.details.get("reason"))


def _misfit(
    session: Session, raw: Handle, parts: Sequence[_Part], csv: Csv, name: str, column_type: str, *, declared: bool, time: bool
) -> RequestError:
    """The error for the first text of a column that does not have its type."""
    rule = csv_types.rule(quote_name(name), column_type, csv)
    rows = session.batches(first_misfit(raw, name, column_type, csv, inferred=not declared, time=time)).read_all().to_pylist()
    if not rows:
        return RequestError(f"column '{name}' is not {rule.noun} throughout, as it was in earlier runs; declare its type", column=name)
    file, value = str(rows[0]["file"]), str(rows[0]["text"])
    part = next(part for part in parts if file in part.paths)
    line = csv_text.line_of(file, csv, part.header, part.header_names[name], value)
    index = f"{file}, line {line}" if line else file
    advice = "correct it there, or declare the column's type"
    if not declared and time and (csv.date or csv.timestamp):
        advice = "correct it there, or correct date= or timestamp= of the format"
    elif not declared and time:
        advice = "give its format, as in format=Csv(date='%d/%m/%Y') or format=Csv(timestamp='%d/%m/%Y %H:%M')"
    elif not declared:
        advice = f"earlier runs read the column as {column_type}; declare its type, as in format=Csv(types={{{name!r}: 'string'}})"
    shown = repr(value if len(value) <= 120 else f"{value[:120]}...")
    return RequestError(
        f"{index}, column '{name}': {shown} is not {rule.noun}; {advice}",
        path=file,
        line=line,
        column=name,
        value=value,
        expected=column_type,
    )
