"""Statistics of a training set's features and label, the baseline for drift, stored in a table of the registry.

They depend on the stored rows alone: statistics that were not computed during the build are computed from the stored rows when needed.
"""

import json
import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from featurestore.compiler.column_statistics import latest_statistics
from featurestore.compiler.query import columns_of
from featurestore.compiler.relations import Handle
from featurestore.engine.session import Session
from featurestore.lakehouse import granted, scans, tables, writes
from featurestore.lakehouse.folders import data_folders
from featurestore.pipelines.training_sets.measures import Statistics, by_engine, countable, in_memory, is_text
from featurestore.pipelines.training_sets.stored_rows import StoredRows
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.size_groups import group_by_size

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

MEMORY_DIVISOR = 8
"""Columns to be measured may take an eighth of a session's memory."""
MEMORY_FACTOR = 3
"""Measuring columns takes this many times their memory: while some are measured, the next are read."""
TEXT_BYTES = 32
"""The assumed size of a text."""


def load_or_measure(runtime: Runtime, manifest: Mapping[str, Any], stored: StoredRows) -> Statistics:
    """The stored statistics of a training set; if there are none, compute them from its rows and store them.

    Returns `training_set`, `rows`, and `columns`: by name its type, role and statistics, see `measure`.
    """
    stored_statistics = _load(runtime, manifest["id"]) or store_statistics(runtime, manifest, measure(stored, manifest))
    columns = {row["column"]: {"type": row["type"], "role": row["role"], **json.loads(row["statistics"])} for row in stored_statistics}
    return {"training_set": manifest["id"], "rows": manifest["rows"], "columns": columns}


def measure(stored: StoredRows, manifest: Mapping[str, Any], known: Mapping[str, Statistics] | None = None) -> dict[str, Statistics]:
    """The statistics of every feature and of the label, JSON-ready: the same with any number of threads.

    For all columns: `count` (of values), `nulls`, `distinct` and `top`, the most frequent values with their counts. For numbers also
    `nan`, `infinite`, and of the finite ones `mean`, `stddev` (of a sample), `min`, `max`, `quantiles` by percent (the smallest value
    that at least that many percent do not exceed) and `histogram` (edges and counts of equally wide bins). For times and dates the same
    without mean and stddev. Columns in `known` are not measured again. Columns are read in groups that fit in memory, each column once;
    one that is too large for that, or of a type that only DuckDB can compare, is measured by DuckDB.
    """
    measured: dict[str, Statistics] = dict(known or {})
    names = measured_columns(manifest)
    missing = [name for name in names if name not in measured]
    if missing:
        measured |= _measure_columns(stored, missing, manifest["rows"])
    return {name: measured[name] for name in names}


def measured_columns(manifest: Mapping[str, Any]) -> list[str]:
    """The columns to measure: the features and the label."""
    return [column["name"] for column in manifest["columns"] if column["role"] != "spine" or column["name"] == manifest["label"]]


def store_statistics(runtime: Runtime, manifest: Mapping[str, Any], measured: Mapping[str, Statistics]) -> list[dict[str, Any]]:
    """Write the statistics of a training set to the table, and return the rows that were written."""
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
            "statistics": json.dumps(statistics, separators=(",", ":")),
            "at": now,
        }
        for position, (column, statistics) in enumerate(measured.items())
    ]
    if rows:
        table = tables.create_if_absent(runtime.catalog, statistics_table(runtime), SCHEMA)
        writes.append_retrying(table, pa.Table.from_pylist(rows, SCHEMA).to_reader(), summary={writes.OPERATION: "measure"})
    return rows


def statistics_table(runtime: Runtime) -> str:
    """The table's name in the catalog."""
    return f"{runtime.settings.registry_namespace}.statistics"


def _measure_columns(stored: StoredRows, names: Sequence[str], rows: int) -> dict[str, Statistics]:
    measured: dict[str, Statistics] = {}
    pending: dict[str, Future[Statistics]] = {}
    types = {field.name: field.type for field in stored.schema}
    columns = stored.columns()
    with stored.session(names) as (session, relation), ThreadPoolExecutor(stored.runtime.settings.threads or os.cpu_count()) as pool:
        # The columns of one group are read while those of the one before are measured.
        memory = session.memory // MEMORY_DIVISOR // MEMORY_FACTOR
        groups = deque(_column_groups({name: types[name] for name in names if countable(types[name])}, rows, memory))
        alone = [name for name in names if not countable(types[name])]
        while groups:
            group = groups.popleft()
            values = _read_columns(session, relation(group), [columns[name] for name in group], memory)
            if values is not None:
                measured |= {name: future.result() for name, future in pending.items()}
                pending = {name: pool.submit(in_memory, column) for name, column in zip(group, values.columns, strict=True)}
            elif len(group) > 1:
                groups.extendleft([group[len(group) // 2 :], group[: len(group) // 2]])
            else:
                alone += group
            del values
        measured |= {name: future.result() for name, future in pending.items()}
        return measured | {name: by_engine(session, relation([name]), columns[name], types[name]) for name in alone}


def _column_groups(types: Mapping[str, pa.DataType], rows: int, memory: int) -> list[list[str]]:
    """Consecutive columns whose values take about `memory` bytes, or one column; texts may take more than is assumed here."""
    sizes = {name: rows * (TEXT_BYTES if is_text(kind) else -(-kind.bit_width // 8)) for name, kind in types.items()}
    return group_by_size(sizes, sizes.__getitem__, memory)


def _read_columns(session: Session, rows: Handle, columns: Sequence[str], memory: int) -> pa.Table | None:
    """The values of columns; None if they take more than `memory` bytes."""
    batches: list[pa.RecordBatch] = []
    reader = session.batches(columns_of(rows, columns))
    for batch in reader:
        memory -= batch.nbytes
        if memory < 0:
            return None
        batches.append(batch)
    return pa.Table.from_batches(batches, reader.schema)


def _load(runtime: Runtime, id: str) -> list[dict[str, Any]]:
    table = tables.find(runtime.catalog, statistics_table(runtime))
    if table is None:
        return []
    statistics = granted.system(table, runtime.settings)
    with runtime.engine.session(data_folders(statistics)) as session:
        rows = session.add("kept", scans.scan_snapshot(statistics, table.snapshot_id))
        # Two processes that measured at the same time have both written rows.
        return list(session.batches(latest_statistics(rows, id)).read_all().to_pylist())
