"""Reading a spine from where the caller has it: memory, a stream, files, an Iceberg table, or SQL over Iceberg tables."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore.compiler.expressions import SqlProblem, parse_query, query_tables
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotFound, RequestError
from featurestore.files.spine_files import files_of
from featurestore.lakehouse import scans, tables
from featurestore.records.runtime import Runtime
from featurestore.sources.query_rows import TableAt, open_query
from featurestore.spines.bounds import check_spine
from featurestore.spines.file_format import SpineFiles
from featurestore.spines.spine import Spine, fitted, held
from featurestore.spines.spool import Spool
from featurestore.spines.written_numbers import settle
from featurestore.values import frames

HELD_BYTES = 256 << 20
"""What comes as a stream is held in memory up to this size, and in a file beyond."""


def read(runtime: Runtime, given: Any, plan: ServicePlan, timestamp: str) -> Spine:
    """The spine of a service. Raises: RequestError and TypeMismatch naming the column that is missing, misnamed or of
    a wrong type; NotFound for a file or table that does not exist.
    """
    with opened(runtime, settle(given, plan, timestamp) if isinstance(given, list) else given, [timestamp]) as rows:
        return of_rows(rows, plan, timestamp, runtime.settings.spill_path())


def of_rows(rows: pa.Table | pa.RecordBatchReader, plan: ServicePlan, timestamp: str, folder: Path, most: int = HELD_BYTES) -> Spine:
    """The spine of a service from these rows; of a stream, what is more than `most` bytes is kept in a file in `folder`."""
    if isinstance(rows, pa.Table):
        return held(fitted(rows, plan, timestamp), plan)
    taken: list[pa.Table] = [fitted(rows.schema.empty_table(), plan, timestamp).table]
    size = rows_read = 0
    spool: Spool | None = None
    for batch in rows:
        taken.append(fitted(pa.Table.from_batches([batch]), plan, timestamp).table)
        size, rows_read = size + taken[-1].nbytes, rows_read + batch.num_rows
        check_spine(size, rows_read)
        if size > most:
            spool = spool or Spool(taken[0].schema, folder)
            for table in taken:
                spool.add(table)
            taken.clear()
    if spool is None:
        return held(fitted(pa.concat_tables(taken), plan, timestamp), plan)
    spool.end()
    return Spine(plan, timestamp, spool)


def rows_of(runtime: Runtime, given: Any, times: Sequence[str]) -> pa.Table:
    """A spine as the caller has it, as one table: a frame, Arrow, a list of dicts, a path, an Iceberg table or SQL."""
    with opened(runtime, given, times) as rows:
        return rows if isinstance(rows, pa.Table) else rows.read_all()


@contextmanager
def opened(runtime: Runtime, given: Any, times: Sequence[str] = ()) -> Iterator[pa.Table | pa.RecordBatchReader]:
    """The rows as they are, if they are in memory; else a stream of them. `times` are the columns of times. Raises: as `read`."""
    if isinstance(given, pa.RecordBatchReader):
        yield given
    elif isinstance(given, SpineFiles):
        with files_of(runtime.files, lambda: runtime.engine, given.pattern, given.format, times) as rows:
            yield rows
    elif (table := frames.in_memory(given)) is not None:
        yield table
    else:
        text = os.fspath(given).strip()
        if text.startswith("iceberg:"):
            name, at, snapshot = text.removeprefix("iceberg:").partition("@")
            table = tables.load(runtime.catalog, name)
            yield scans.read_snapshot(table, _snapshot_id(table, snapshot) if at else tables.current_snapshot_id(table))
        elif frames.is_query(text):
            with _queried(runtime, text) as rows:
                yield rows
        else:
            with files_of(runtime.files, lambda: runtime.engine, text, times=times) as rows:
                yield rows


@contextmanager
def _queried(runtime: Runtime, text: str) -> Iterator[pa.RecordBatchReader]:
    try:
        tree = parse_query(text)
        names = query_tables(tree)
    except SqlProblem as error:
        raise RequestError(f"the spine's SQL cannot be used: {error}") from error
    loaded = {name: tables.load(runtime.catalog, name) for name in names}
    at = {name: TableAt(table, tables.current_snapshot_id(table), None) for name, table in loaded.items()}
    with open_query(runtime, tree, at, "the spine's SQL") as rows:
        yield rows


def _snapshot_id(table: tables.Table, text: str) -> int:
    known = [str(snapshot) for snapshot in tables.snapshot_ids(table)]
    if text not in known:
        raise NotFound("snapshot", text, known, ".".join(table.name()))
    return int(text)
