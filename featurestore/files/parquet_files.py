"""Parquet files as one relation, in types that every file was held against before a row is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from featurestore.compiler.expressions import quoted
from featurestore.compiler.nanoseconds import truncate_sql
from featurestore.compiler.relations import FilePart, LocalFiles
from featurestore.files import folders, widening
from featurestore.files.columns import Columns, of_two_types, together, too_long
from featurestore.files.footers import Footer

_FOLDERS = {"BIGINT": pa.int64(), "DATE": pa.date32(), "VARCHAR": pa.string()}


@dataclass(frozen=True)
class ParquetFiles:
    """`relation` reads the files, `schema` are its columns in Arrow's types, `rows` is how many there are."""

    relation: LocalFiles
    schema: pa.Schema
    columns: Columns
    rows: int


@dataclass(frozen=True)
class _Held:
    """What a file has: its own columns, and the names of those that only its folders tell."""

    kinds: Mapping[str, pa.DataType]
    folders: tuple[str, ...]


def parquet(paths: Sequence[str], footers: Sequence[Footer]) -> ParquetFiles:
    """Parquet files with their footers. A file's own column wins over that of its folder.

    Raises: TypeMismatch naming a column that two files have in types that do not go together, or one in decimals beyond 38 digits,
    and the files.
    """
    told = [folders.values(path) for path in paths]
    groups: dict[tuple[pa.Schema, tuple[str, ...]], list[int]] = {}
    for place, (footer, own) in enumerate(zip(footers, told, strict=True)):
        groups.setdefault((footer.schema, tuple(own)), []).append(place)
    held = [_held(schema, own) for schema, own in groups]
    firsts = [paths[places[0]] for places in groups.values()]
    columns = together(firsts, [[*one.kinds, *one.folders] for one in held])
    from_folders = {name: folders.kind([own.get(name) for own in told]) for name in dict.fromkeys(name for own in told for name in own)}
    kinds = {name: _kind(name, firsts, held, from_folders) for name in columns.names.values()}
    plain = len(groups) == 1 and not held[0].folders
    parts = [
        FilePart(tuple(paths[place] for place in places), () if plain else _select(one, kinds, from_folders))
        for one, places in zip(held, groups.values(), strict=True)
    ]
    schema = pa.schema([pa.field(name, kind) for name, (kind, _) in kinds.items()])
    return ParquetFiles(LocalFiles(tuple(parts)), schema, columns, sum(footer.rows for footer in footers))


def _held(schema: pa.Schema, told: Sequence[str]) -> _Held:
    own = {name.lower() for name in schema.names}
    return _Held(dict(zip(schema.names, schema.types, strict=True)), tuple(name for name in told if name.lower() not in own))


def _kind(name: str, paths: Sequence[str], held: Sequence[_Held], from_folders: Mapping[str, str]) -> tuple[pa.DataType, bool]:
    """The type of a column, and whether it is the one that all files which have it have. Raises: TypeMismatch."""
    first: dict[str, tuple[pa.DataType, str]] = {}
    for path, one in zip(paths, held, strict=True):
        found = _of(name, one, from_folders)
        if found is not None:
            first.setdefault(str(found), (found, path))
    kinds = list(first.values())
    for kind, path in kinds:
        if widening.is_beyond(kind):
            raise too_long(name, path, kind)
    common = widening.common([kind for kind, _ in kinds])
    if len(kinds) == 1:
        return kinds[0][0], True
    if common is None:
        for number in range(1, len(kinds)):
            if widening.common([kind for kind, _ in kinds[: number + 1]]) is None:
                (kind, path), (other, other_path) = _worst(kinds[: number + 1])
                raise of_two_types(name, (path, kind), (other_path, other))
        raise AssertionError("types that do not go together have a first that does not")
    return common, len({widening.plain(kind) for kind, _ in kinds}) == 1


def _worst(kinds: Sequence[tuple[pa.DataType, str]]) -> tuple[tuple[pa.DataType, str], tuple[pa.DataType, str]]:
    """The last, and the first before it that does not go with it."""
    last = kinds[-1]
    return next((one for one in kinds[:-1] if widening.common([one[0], last[0]]) is None), kinds[0]), last


def _of(name: str, one: _Held, from_folders: Mapping[str, str]) -> pa.DataType | None:
    own = next((kind for column, kind in one.kinds.items() if column.lower() == name.lower()), None)
    if own is not None:
        return own
    folder = next((column for column in one.folders if column.lower() == name.lower()), None)
    return None if folder is None else _FOLDERS[from_folders[folder]]


def _select(one: _Held, kinds: Mapping[str, tuple[pa.DataType, bool]], from_folders: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    own = {name.lower(): name for name in one.kinds}
    folder = {name.lower(): name for name in one.folders}
    selected: list[tuple[str, str]] = []
    for name, (kind, same) in kinds.items():
        target = widening.sql_type(widening.plain(kind))
        if name.lower() in own:
            selected.append((name, _own(own[name.lower()], one.kinds[own[name.lower()]], same, target)))
        elif name.lower() in folder:
            value = folders.value_sql(folder[name.lower()], from_folders[folder[name.lower()]])
            selected.append((name, f"CAST({value} AS {target})"))
        else:
            selected.append((name, f"CAST(NULL AS {target})" if target else "NULL"))
    return tuple(selected)


def _nanoseconds(held: pa.DataType) -> str:
    """The DuckDB type of times that count nanoseconds, or of lists of them; empty for all others."""
    if pa.types.is_list(held) or pa.types.is_large_list(held):
        item = _nanoseconds(held.value_type)
        return item and f"{item}[]"
    if not pa.types.is_timestamp(held) or held.unit != "ns":
        return ""
    return "TIMESTAMPTZ_NS" if held.tz else "TIMESTAMP_NS"


def _own(column: str, held: pa.DataType, same: bool, target: str | None) -> str:
    name = quoted(column)
    if (found := truncate_sql(name, _nanoseconds(held))) is not None:
        return found
    return name if same or target is None else f"CAST({name} AS {target})"
