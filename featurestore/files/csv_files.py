"""CSV files as one relation, in types that are declared, or inferred from every row of all the files together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featurestore.compiler.expressions import quoted
from featurestore.compiler.relations import FILE, FilePart, LocalFiles
from featurestore.dsl.csv import Csv
from featurestore.engine.session import Engine, Session
from featurestore.errors import NotFound, RequestError
from featurestore.files import csv_text, csv_types, folders
from featurestore.files.columns import Columns, together

_RAW = "__fs_csv"
_MOMENT = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True)
class ReadBefore(Csv):
    """A format with the types that earlier runs inferred, which later files do not change."""

    before: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CsvFiles:
    """`relation` reads the files. `inferred` are the types that the rows told, `unknown` the columns that no row has a value in."""

    relation: LocalFiles
    columns: Columns
    inferred: Mapping[str, str]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class _Part:
    """Files of one header: `own` maps the names of all files' columns to those here, `folders` to what only folders tell."""

    paths: tuple[str, ...]
    header: tuple[str, ...]
    own: Mapping[str, str]
    folders: Mapping[str, str]


def csv(engine: Engine, paths: Sequence[str], written: Csv, times: Sequence[str]) -> CsvFiles:
    """CSV files of a format; `times` are columns that must hold dates or times.

    Raises: RequestError naming file, line, column, the text, and what was wanted; NotFound for a declared column.
    """
    headers = [csv_text.header(path, written) for path in paths]
    told = [folders.values(path) for path in paths]
    from_folders = {name: folders.kind([own.get(name) for own in told]) for name in dict.fromkeys(name for own in told for name in own)}
    held = [(*header, *_unnamed(header, own)) for header, own in zip(headers, told, strict=True)]
    columns = together(paths, held)
    for name in written.types:
        if name not in columns.names.values():
            raise NotFound("column", name, columns.names.values(), f"{paths[0]}, whose type the format declares")
    times = [columns.names[name.lower()] for name in times if name.lower() in columns.names]
    parts = _parts(paths, headers, told, columns)
    texts = [name for name in columns.names.values() if any(name in part.own for part in parts)]
    kinds = _kinds(engine, parts, written, texts, [name for name in times if name in texts])
    types = {name: kind or (_MOMENT if name in times else "VARCHAR") for name, kind in kinds.items()}
    selected = tuple(_selected(part, columns, types, from_folders, written) for part in parts)
    inferred = {name: kind for name, kind in kinds.items() if kind and name not in written.types}
    return CsvFiles(LocalFiles(selected, written), columns, inferred, tuple(name for name, kind in kinds.items() if kind is None))


def _unnamed(header: Sequence[str], told: Mapping[str, str | None]) -> list[str]:
    own = {name.lower() for name in header}
    return [name for name in told if name.lower() not in own]


def _parts(
    paths: Sequence[str], headers: Sequence[tuple[str, ...]], told: Sequence[Mapping[str, str | None]], columns: Columns
) -> list[_Part]:
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for path, header, own in zip(paths, headers, told, strict=True):
        groups.setdefault((header, tuple(_unnamed(header, own))), []).append(path)
    names = columns.names
    return [
        _Part(tuple(found), header, {names[name.lower()]: name for name in header}, {names[name.lower()]: name for name in own})
        for (header, own), found in groups.items()
    ]


def _kinds(engine: Engine, parts: Sequence[_Part], written: Csv, names: Sequence[str], times: Sequence[str]) -> dict[str, str | None]:
    """The type of each column, None where there is no value; every value was held against it. Raises: RequestError."""
    before = written.before if isinstance(written, ReadBefore) else {}
    fixed = {**{name: kind for name, kind in before.items() if name in names}, **csv_types.declared(written)}
    raw = LocalFiles(tuple(_texts(part, names) for part in parts), written)
    with engine.session(raw.folders) as session:
        try:
            session.add(_RAW, raw)
            bits = _bits(session, names, fixed, written, times)
        except RequestError as error:
            raise _unreadable(parts, written, error) from error
        for place, name in enumerate(names):
            declared = name in written.types
            if (name not in fixed and name in times and bits[place] & csv_types.OTHER) or (
                name in fixed and bits[place] and not _taken(bits[place], fixed[name], declared=declared)
            ):
                kind = fixed.get(name, _MOMENT)
                raise _misfit(session, parts, written, name, kind, declared=declared, time=name in times)
    return {name: fixed[name] if name in fixed else csv_types.inferred(bits[place]) for place, name in enumerate(names)}


def _bits(session: Session, names: Sequence[str], fixed: Mapping[str, str], written: Csv, times: Sequence[str]) -> list[int]:
    """Of each column the kinds of its texts; of a declared one, 1 for what fits and 2 for what does not."""
    found: list[str] = []
    for name in names:
        column = quoted(name)
        if name in written.types:
            fits = csv_types.rule(column, fixed[name], written).fits
            kinds = f"CASE WHEN {column} IS NULL THEN NULL WHEN {fits} THEN 1 ELSE 2 END"
        else:
            kinds = csv_types.kinds_sql(column, written, time=name in times)
        found.append(f"bit_or({kinds}) AS {quoted(f'b{len(found)}')}")
    row = session.batches(f"SELECT {', '.join(found)} FROM {_RAW}").read_all().to_pylist()[0]
    return [int(row[f"b{place}"] or 0) for place in range(len(names))]


def _taken(bits: int, kind: str, *, declared: bool) -> bool:
    """Whether texts of these kinds can be read as a type: a declared one, or one that was inferred before."""
    if declared:
        return bits == 1
    found = csv_types.inferred(bits)
    return kind == "VARCHAR" or found == kind or csv_types.inferred(bits | csv_types.BITS[kind]) == kind


def _texts(part: _Part, names: Sequence[str]) -> FilePart:
    own = [(name, quoted(part.own[name]) if name in part.own else "CAST(NULL AS VARCHAR)") for name in names]
    return FilePart(part.paths, ((FILE, FILE), *own), part.header)


def _selected(part: _Part, columns: Columns, types: Mapping[str, str], from_folders: Mapping[str, str], written: Csv) -> FilePart:
    selected: list[tuple[str, str]] = []
    for name in columns.names.values():
        kind = types.get(name)
        if name in part.own and kind is not None:
            value = csv_types.rule(quoted(part.own[name]), kind, written).value
        elif name in part.folders:
            own = from_folders[part.folders[name]]
            value, kind = folders.value_sql(part.folders[name], own), kind or own
        else:
            value, kind = "NULL", kind or from_folders[name]
        selected.append((name, f"CAST({value} AS {kind})"))
    return FilePart(part.paths, tuple(selected), part.header)


def _unreadable(parts: Sequence[_Part], written: Csv, error: RequestError) -> RequestError:
    """What keeps the engine from reading the files, with its file and line."""
    for part in parts:
        for path in part.paths:
            if (found := csv_text.problem(path, written, part.header)) is not None:
                return found
    paths = [path for part in parts for path in part.paths]
    shown = paths[0] if len(paths) == 1 else f"{paths[0]} or another of {len(paths)} files"
    said = f"{shown} cannot be read as CSV; are all its lines ended, and its quotes closed, in one way?"
    return RequestError(said, reason=error.details.get("reason"))


def _misfit(session: Session, parts: Sequence[_Part], written: Csv, name: str, kind: str, *, declared: bool, time: bool) -> RequestError:
    """The error for the first text of a column that is not of its type."""
    rule, column = csv_types.rule(quoted(name), kind, written), quoted(name)
    fits = rule.fits
    if not declared and not time:
        fits = f"({csv_types.kinds_sql(column, written, time=time)} & {~csv_types.BITS[kind] & 255}) = 0"
    wrong = f"SELECT {FILE} AS file, {column} AS text FROM {_RAW} WHERE {column} IS NOT NULL AND NOT coalesce({fits}, false) LIMIT 1"
    found = session.batches(wrong).read_all().to_pylist()
    if not found:
        return RequestError(f"column '{name}' is not {rule.wanted} throughout, as it was in earlier runs; declare its type", column=name)
    file, value = str(found[0]["file"]), str(found[0]["text"])
    part = next(part for part in parts if file in part.paths)
    line = csv_text.line_of(file, written, part.header, part.own[name], value)
    place = f"{file}, line {line}" if line else file
    advice = "correct it there, or declare what the column is"
    if not declared and time and (written.date or written.timestamp):
        advice = "correct it there, or what the format says of dates and times"
    elif not declared and time:
        advice = "say how it is written, as in format=Csv(date='%d/%m/%Y') or format=Csv(timestamp='%d/%m/%Y %H:%M')"
    elif not declared:
        advice = f"earlier runs read the column as {kind}; declare what it is, as in format=Csv(types={{{name!r}: 'string'}})"
    shown = repr(value if len(value) <= 120 else f"{value[:120]}...")
    return RequestError(
        f"{place}, column '{name}': {shown} is not {rule.wanted}; {advice}", path=file, line=line, column=name, value=value, expected=kind
    )
