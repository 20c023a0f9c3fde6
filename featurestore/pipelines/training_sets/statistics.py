"""Statistics of a training set's features and label: what drift is measured against, kept in a table of the registry.

They follow from the stored rows alone: what was not measured on the way to the table, or was lost with a process, is measured there.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import literal
from featurestore.engine.session import Session
from featurestore.lakehouse import scans, tables, writes
from featurestore.lakehouse.folders import data_folders
from featurestore.pipelines.training_sets.measures import Statistics, by_engine, countable, in_memory
from featurestore.pipelines.training_sets.stored_rows import ROWS, StoredRows
from featurestore.records.runtime import Runtime
from featurestore.values import times

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

SHARE = 8
"""What is held in memory to be measured is an eighth of a session's memory at most."""
WEIGHT = 3
"""Measuring a column takes so many times its memory."""


def of(runtime: Runtime, manifest: Mapping[str, Any], stored: StoredRows) -> Statistics:
    """The statistics of a training set: as kept, or computed from its rows and kept from now on.

    `training_set`, `rows`, and by column its type, role and numbers; see `measure`.
    """
    kept = _kept(runtime, manifest["id"]) or keep(runtime, manifest, measure(stored, manifest))
    columns = {row["column"]: {"type": row["type"], "role": row["role"], **json.loads(row["statistics"])} for row in kept}
    return {"training_set": manifest["id"], "rows": manifest["rows"], "columns": columns}


def measure(stored: StoredRows, manifest: Mapping[str, Any], known: Mapping[str, Statistics] | None = None) -> dict[str, Statistics]:
    """The numbers of every feature and of the label, JSON-ready: the same at any number of threads.

    For all: `count` (of values), `nulls`, `distinct` and `top`, the most frequent values with their counts. For numbers also
    `nan`, `infinite`, and of the finite ones `mean`, `stddev` (of a sample), `min`, `max`, `quantiles` by percent (the least value
    that so many percent do not exceed) and `histogram` (edges and counts of equally wide bins). For times and dates the same without mean
    and stddev. What is `known` of a column is not measured again. A column is in memory, and the next while it is measured; one that
    is too large is sorted by the engine.
    """
    found: dict[str, Statistics] = dict(known or {})
    missing = [name for name in wanted(manifest) if name not in found]
    if missing:
        found |= _measured(stored, missing)
    return {name: found[name] for name in wanted(manifest)}


def wanted(manifest: Mapping[str, Any]) -> list[str]:
    """The columns that are measured: the features and the label."""
    return [column["name"] for column in manifest["columns"] if column["role"] != "spine" or column["name"] == manifest["label"]]


def keep(runtime: Runtime, manifest: Mapping[str, Any], measured: Mapping[str, Statistics]) -> list[dict[str, Any]]:
    """Write what was measured of a training set to the table; returns its rows."""
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
        table = tables.load_or_create(runtime.catalog, identifier(runtime), SCHEMA)
        writes.append_retrying(table, pa.Table.from_pylist(rows, SCHEMA).to_reader(), summary={"featurestore.action": "measure"})
    return rows


def identifier(runtime: Runtime) -> str:
    """The table's name in the catalog."""
    return f"{runtime.settings.registry_namespace}.statistics"


def _measured(stored: StoredRows, names: Sequence[str]) -> dict[str, Statistics]:
    found: dict[str, Statistics] = {}
    begun: dict[str, Future[Statistics]] = {}
    with stored.session() as session, ThreadPoolExecutor(1) as pool:
        own, room = stored.columns(), session.memory // SHARE
        kinds = {field.name: field.type for field in stored.schema}
        for name in names:
            column = _held(session, own[name], room // WEIGHT) if countable(kinds[name]) else None
            found |= {other: one.result() for other, one in begun.items()}
            begun = {} if column is None else {name: pool.submit(in_memory, column)}
            if column is None:
                found[name] = by_engine(session, ROWS, own[name], kinds[name])
        return found | {other: one.result() for other, one in begun.items()}


def _held(session: Session, column: str, room: int) -> pa.ChunkedArray | None:
    """The values of a column; None if they are more than `room` bytes."""
    batches: list[pa.RecordBatch] = []
    reader = session.batches(f"SELECT {column} AS x FROM {ROWS}")
    for batch in reader:
        room -= batch.nbytes
        if room < 0:
            return None
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema).column(0)


def _kept(runtime: Runtime, id: str) -> list[dict[str, Any]]:
    table = tables.find(runtime.catalog, identifier(runtime))
    if table is None:
        return []
    with runtime.engine.session(data_folders(table)) as session:
        session.add("kept", scans.scan_snapshot(table, tables.current_snapshot_id(table)))
        # Two processes that measured at once have both written.
        latest = 'QUALIFY row_number() OVER (PARTITION BY "column" ORDER BY "at" DESC) = 1'
        select = f'SELECT * EXCLUDE ("at") FROM kept WHERE training_set = {literal(id)} {latest} ORDER BY position'
        return list(session.batches(select).read_all().to_pylist())
