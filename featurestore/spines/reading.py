"""Read a spine from memory, a stream, files, an Iceberg table, or SQL over Iceberg tables."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from featurestore.compiler.catalog_prefix import without_catalog
from featurestore.compiler.expressions import SqlProblem, parse_query, query_tables
from featurestore.compiler.row_policy import RowPolicy
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import RequestError
from featurestore.files.spine_files import open_spine_files
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.granted import Granted
from featurestore.records import named_versions, stored_sets
from featurestore.records.named_tables import check_namespace, check_query
from featurestore.records.runtime import Runtime
from featurestore.sources.policy_rows import open_visible_rows
from featurestore.sources.query_rows import TableAt, open_query
from featurestore.spines.bounds import check_spine
from featurestore.spines.file_format import SpineFiles
from featurestore.spines.spine import Spine, fit_rows, spine_in_memory
from featurestore.spines.spool import Spool
from featurestore.spines.written_numbers import coerce_numbers
from featurestore.values import frames
from featurestore.values.table_names import local_name

MEMORY_BYTES = 256 << 20
"""Streams up to this size are kept in memory, larger ones in a file."""


@dataclass(frozen=True)
class ReadRows:
    """Rows that were read before, with their origin; a spine like any other."""

    rows: pa.Table | pa.RecordBatchReader
    origin: Mapping[str, Any] | None


OpenRows: TypeAlias = "tuple[pa.Table | pa.RecordBatchReader, Mapping[str, Any] | None]"
"""Rows with their origin."""


def load_spine(runtime: Runtime, spine: Any, plan: ServicePlan, timestamp: str) -> Spine:
    """Read the spine of a service. Raises: RequestError and TypeMismatch naming a column that is missing, misnamed or of a wrong type;
    NotFound for a file or table that does not exist.
    """
    with open_rows(runtime, coerce_numbers(spine, plan, timestamp) if isinstance(spine, list) else spine, [timestamp]) as (rows, origin):
        return replace(spine_of_rows(rows, plan, timestamp, runtime.settings.spill_path()), origin=origin)


def spine_of_rows(
    rows: pa.Table | pa.RecordBatchReader, plan: ServicePlan, timestamp: str, folder: Path, memory_limit: int = MEMORY_BYTES
) -> Spine:
    """The spine of a service from these rows; of a stream, what is more than `memory_limit` bytes is kept in a file in `folder`."""
    if isinstance(rows, pa.Table):
        return spine_in_memory(fit_rows(rows, plan, timestamp), plan)
    tables: list[pa.Table] = [fit_rows(rows.schema.empty_table(), plan, timestamp).table]
    size = rows_read = 0
    spool: Spool | None = None
    for batch in rows:
        tables.append(fit_rows(pa.Table.from_batches([batch]), plan, timestamp).table)
        size, rows_read = size + tables[-1].nbytes, rows_read + batch.num_rows
        check_spine(size, rows_read)
        if size > memory_limit:
            spool = spool or Spool(tables[0].schema, folder)
            for table in tables:
                spool.add(table)
            tables.clear()
    if spool is None:
        return spine_in_memory(fit_rows(pa.concat_tables(tables), plan, timestamp), plan)
    spool.end()
    return Spine(plan, timestamp, spool)


def read_rows(runtime: Runtime, spine: Any, times: Sequence[str]) -> pa.Table:
    """Read a caller's spine, in any of the supported forms, as one table."""
    with open_rows(runtime, spine, times) as (rows, _):
        return rows if isinstance(rows, pa.Table) else rows.read_all()


@contextmanager
def open_rows(runtime: Runtime, spine: Any, times: Sequence[str] = ()) -> Iterator[OpenRows]:
    """The rows as they are, if they are in memory, else a stream of them; and their origin, as in `Spine`.

    `times` are the columns of times. Raises: as `load_spine`.
    """
    if isinstance(spine, ReadRows):
        yield spine.rows, spine.origin
    elif isinstance(spine, pa.RecordBatchReader):
        yield spine, None
    elif isinstance(spine, SpineFiles):
        runtime.reader.require_files()
        with open_spine_files(runtime.files, lambda: runtime.engine, spine.pattern, spine.format, times) as rows:
            yield rows, None
    elif (table := frames.to_arrow_table(spine)) is not None:
        yield table, None
    else:
        text = os.fspath(spine).strip()
        if text.startswith("iceberg:"):
            name, at, snapshot = text.removeprefix("iceberg:").partition("@")
            granted = _load(runtime, name)
            table = granted.table
            snapshot_id = named_versions.snapshot_id(runtime, table, snapshot) if at else table.snapshot_id
            with _open_table(runtime, granted, snapshot_id) as rows:
                yield rows, {"table": table.name, "snapshot_id": _text(snapshot_id)}
        elif frames.is_query(text):
            with _open_sql(runtime, text) as rows_and_origin:
                yield rows_and_origin
        else:
            runtime.reader.require_files()
            with open_spine_files(runtime.files, lambda: runtime.engine, text, times=times) as rows:
                yield rows, None


@contextmanager
def _open_sql(runtime: Runtime, text: str) -> Iterator[OpenRows]:
    try:
        text = without_catalog(text, runtime.settings.catalog_name)
        check_query(runtime, text, "spine")
        tree = parse_query(text)
        names = query_tables(tree)
    except SqlProblem as error:
        raise RequestError(f"the spine's SQL cannot be used: {error}") from error
    loaded = {name: _load(runtime, name) for name in names}
    at = {name: TableAt(granted, granted.table.snapshot_id, None) for name, granted in loaded.items()}
    policies = {name: _policy(runtime, granted, granted.table.snapshot_id) for name, granted in loaded.items()}
    with open_query(runtime, tree, at, "the spine's SQL", policies) as rows:
        yield rows, {"sql": text, "tables": {name: _text(granted.table.snapshot_id) for name, granted in loaded.items()}}


@contextmanager
def _open_table(runtime: Runtime, granted: Granted, snapshot_id: int | None) -> Iterator[pa.RecordBatchReader]:
    policy = _policy(runtime, granted, snapshot_id)
    if policy.is_open:
        yield scans.read_snapshot(granted, snapshot_id)
        return
    with open_visible_rows(runtime, granted, snapshot_id, policy) as rows:
        yield rows


def _policy(runtime: Runtime, granted: Granted, snapshot_id: int | None) -> RowPolicy:
    """What is in force on a table. Raises: Forbidden for stored rows of others under other policies."""
    stored_sets.require_same_policies(runtime, granted.table, snapshot_id)
    return runtime.reader.policy_of_table(granted.name)


def _load(runtime: Runtime, name: str) -> Granted:
    """Load a table that a request names. Raises: Forbidden before anything tells whether it exists; NotFound."""
    local = local_name(name, runtime.settings.catalog_name)
    permit = runtime.reader.permit("TABLE", local)
    stored_sets.require_shown_tables(runtime, local)
    check_namespace(runtime, local.rpartition(".")[0], "spine")
    return runtime.reader.grant(tables.load(runtime.catalog, local), permit)


def _text(snapshot_id: int | None) -> str | None:
    return None if snapshot_id is None else str(snapshot_id)
