"""Statistics of a training set's features and label: what drift is measured against, kept in a table of the registry.

They are computed from the stored rows alone, so what is not there, or was lost with a process, is computed again.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import literal
from featurestore.engine.session import Session
from featurestore.errors import Conflict
from featurestore.lakehouse import scans, tables, writes
from featurestore.pipelines import times
from featurestore.pipelines.column_profile import TOP, Extent, Profile, Spelled, Values
from featurestore.pipelines.encoding import spelled
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.stored_rows import ROWS, StoredRows

SCHEMA = pa.schema(
    [
        ("training_set", pa.string()),
        ("rows", pa.int64()),
        ("column", pa.string()),
        ("position", pa.int32()),
        ("type", pa.string()),
        ("role", pa.string()),
        ("statistics", pa.string()),
        ("at", pa.timestamp("us", tz="UTC")),
    ]
)

Statistics = dict[str, Any]

TEXT = 200
"""A frequent text is kept to so many characters."""


def of(parts: Parts, manifest: Mapping[str, Any], stored: StoredRows) -> Statistics:
    """The statistics of a training set: as kept, or computed from its rows and kept from now on.

    `training_set`, `rows`, and by column its type, role and numbers; see `measure`.
    """
    kept = _kept(parts, manifest["id"])
    if not kept:
        _keep(parts, manifest, measure(stored, manifest))
        kept = _kept(parts, manifest["id"])
    columns = {row["column"]: {"type": row["type"], "role": row["role"], **json.loads(row["statistics"])} for row in kept}
    return {"training_set": manifest["id"], "rows": manifest["rows"], "columns": columns}


def measure(stored: StoredRows, manifest: Mapping[str, Any]) -> dict[str, Statistics]:
    """The numbers of every feature and of the label, JSON-ready: the same at any number of threads.

    For all: `count` (of values), `nulls`, `distinct` and `top`, the most frequent values with their counts. For numbers also
    `nan`, `infinite`, and of the finite ones `mean`, `stddev` (of a sample), `min`, `max`, `quantiles` by percent (the least value
    that so many percent do not exceed) and `histogram` (edges and counts of equally wide bins). For times and dates the same without mean
    and stddev. One column is in memory at a time, as much of it as the memory limit allows.
    """
    with stored.session() as session:
        own = stored.columns()
        kinds = {field.name: field.type for field in stored.schema}
        return {
            column["name"]: _measured(session, own[column["name"]], kinds[column["name"]])
            for column in manifest["columns"]
            if column["role"] != "spine" or column["name"] == manifest["label"]
        }


def identifier(parts: Parts) -> str:
    """The table's name in the catalog."""
    return f"{parts.settings.registry_namespace}.statistics"


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type has a mean."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of this type has an order in time."""
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def scalar(column: str, kind: pa.DataType) -> str:
    """A column of numbers or times as SQL that gives a BIGINT or a DOUBLE; zero has one sign."""
    if is_time(kind):
        return f"epoch_us(CAST({column} AS TIMESTAMPTZ))"
    return f"CAST({column} AS BIGINT)" if pa.types.is_integer(kind) else f"CAST({column} AS DOUBLE) + 0.0"


def _measured(session: Session, column: str, kind: pa.DataType) -> Statistics:
    if is_number(kind) or is_time(kind):
        return _ordered(session, scalar(column, kind), kind)
    listed = pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    shown = f"left(x, {TEXT})" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else "x"
    facts = _one(session, f"SELECT count({column}) AS count, count(*) - count({column}) AS nulls FROM {ROWS}")
    groups = f"SELECT {column} AS x, count(*) AS n FROM {ROWS} WHERE {column} IS NOT NULL GROUP BY {column}"
    distinct = _one(session, f"SELECT count(*) AS n FROM ({groups})")["n"]
    if listed:
        return {**facts, "distinct": distinct}
    top = f"SELECT {shown} AS x, n FROM ({groups}) g ORDER BY n DESC, g.x LIMIT {TOP}"
    rows = session.batches(top).read_all().to_pylist()
    return {**facts, "distinct": distinct, "top": [[_plain(row["x"]), row["n"]] for row in rows]}


def _ordered(session: Session, sql: str, kind: pa.DataType) -> Statistics:
    floating = not (is_time(kind) or pa.types.is_integer(kind))
    values = f"SELECT {sql} AS x FROM {ROWS}"
    finite = "isfinite(x)" if floating else "x IS NOT NULL"
    facts = _one(
        session,
        f"SELECT count(x) AS count, count(*) - count(x) AS nulls, count(*) FILTER ({finite}) AS finite,"
        f" min(x) FILTER ({finite}) AS least, max(x) FILTER ({finite}) AS greatest"
        f"{', count(*) FILTER (isnan(x)) AS nan, count(*) FILTER (isinf(x)) AS infinite' if floating else ''} FROM ({values})",
    )
    extent = Extent(facts.pop("finite"), facts.pop("least"), facts.pop("greatest"))
    ordered = session.batches(f"SELECT x FROM ({values}) WHERE {finite} ORDER BY x")
    profile = Profile(extent).of(_numpy(ordered))
    return {**facts, **profile.to_dict(_spelling(kind), moments=not is_time(kind))}


def _numpy(reader: pa.RecordBatchReader) -> Iterator[Values]:
    for batch in reader:
        yield batch.column(0).to_numpy(zero_copy_only=False)


def _spelling(kind: pa.DataType) -> Spelled:
    if not is_time(kind):
        return lambda value: value
    cut = 10 if pa.types.is_date(kind) else None
    return lambda value: (times.text(int(value)) or "")[:cut]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else _text(value)


def _text(value: Any) -> str:
    try:
        return str(spelled(value))
    except TypeError:
        return str(value)


def _one(session: Session, sql: str) -> dict[str, Any]:
    return dict(session.batches(sql).read_all().to_pylist()[0])


def _kept(parts: Parts, id: str) -> list[dict[str, Any]]:
    if not tables.exists(parts.catalog, identifier(parts)):
        return []
    table = tables.load(parts.catalog, identifier(parts))
    with parts.engine.session() as session:
        session.add("kept", scans.scan(table, tables.current_snapshot_id(table)))
        # Two processes that measured at once have written the same.
        select = f'SELECT DISTINCT * EXCLUDE ("at") FROM kept WHERE training_set = {literal(id)} ORDER BY position'
        return list(session.batches(select).read_all().to_pylist())


def _keep(parts: Parts, manifest: Mapping[str, Any], measured: Mapping[str, Statistics]) -> None:
    name = identifier(parts)
    if not tables.exists(parts.catalog, name):
        try:
            tables.create(parts.catalog, name, SCHEMA)
        except Conflict:
            # Another process made it at the same moment.
            tables.load(parts.catalog, name)
    roles = {column["name"]: (column["type"], column["role"]) for column in manifest["columns"]}
    now = times.now()
    rows = [
        {
            "training_set": manifest["id"],
            "rows": manifest["rows"],
            "column": column,
            "position": position,
            "type": roles[column][0],
            "role": roles[column][1],
            "statistics": json.dumps(found, separators=(",", ":")),
            "at": now,
        }
        for position, (column, found) in enumerate(measured.items())
    ]
    if rows:
        writes.append_retrying(
            parts.catalog, name, pa.Table.from_pylist(rows, SCHEMA).to_reader(), summary={"featurestore.action": "measure"}
        )
