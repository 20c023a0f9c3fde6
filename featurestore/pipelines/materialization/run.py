"""A materialization run of one view: compute its interval chunk by chunk, and append all rows in one commit.

A run of several chunks stores a checkpoint in the table after each, so that the next run resumes an interrupted one.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from featurestore.access.policies import has_policy
from featurestore.compiler.events import events_of
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.relations import IcebergFiles
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import CheckFailed, RequestError
from featurestore.lakehouse import clock, scans, tables, writes
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.table import Table
from featurestore.pipelines.materialization import checks, source_columns
from featurestore.pipelines.materialization.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint
from featurestore.pipelines.materialization.checks import Outcome, Tally
from featurestore.pipelines.materialization.chunk_files import compute_chunk
from featurestore.pipelines.materialization.chunks import CHUNKING, Chunk, max_chunk_rows
from featurestore.pipelines.materialization.compute import (
    OpenSpan,
    SourceCounts,
    Task,
    count_rows,
    count_source,
    open_span,
)
from featurestore.pipelines.materialization.distributed_run import DistributedRun
from featurestore.pipelines.materialization.finished import AppendedRows, FinishedRun, RunResult, combine
from featurestore.pipelines.materialization.interval import Interval, Span, choose
from featurestore.pipelines.materialization.rewrite import layout_of
from featurestore.pipelines.materialization.run_maintenance import maintain_after_run
from featurestore.pipelines.materialization.view_progress import OnViewProgress, SpanProgress, ViewProgress
from featurestore.records import feature_table
from featurestore.records.authors import AUTHOR, RUN_ID
from featurestore.records.definitions import Applied
from featurestore.records.feature_table import State
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource, open_source, open_source_at
from featurestore.sources.raw_rows import PinnedRows
from featurestore.values import times

NULL_KEYS = "featurestore.null-keys"
FUTURE_ROWS = "featurestore.future-rows"


@contextmanager
def run(
    runtime: Runtime, leases: Leases, applied: Applied, view: FeatureView, start: int | None, end: int | None, report: OnViewProgress
) -> Iterator[FinishedRun]:
    """Bring the table of a view's version up to `end` (microseconds; now when None or later). An interrupted run is resumed first.
    The session stays open during the block. If there is anything to compute, the table's lease is taken before.

    Raises: CommitConflict if another run committed first; finished chunks are kept, and the next attempt resumes after them.
    LeaseHeld, CheckFailed, RequestError, TypeMismatch, OutOfResources: no row was added.
    """
    table = tables.load(runtime.catalog, runtime.features_table(applied.table))
    view = replace(view, source=reading.with_known_types(view.source, feature_table.state_of(table.properties).types))
    interrupted, first = load_checkpoint(table), None
    opened = None if interrupted is not None else _open_inputs(runtime, view, end)
    if opened is not None and start is None and _is_up_to_date(feature_table.state_of(table.properties), opened):
        yield FinishedRun(RunResult(), None, None)
        return
    if not leases.hold(table, lambda holder: report(ViewProgress(view.name, "wait", 0, 1, 0))):
        if opened is not None:
            pins, plan = opened.source.pins, _chunk_plan(runtime, view)
            stamp = feature_table.next_stamp(table.name, feature_table.state_of(table.properties).ran, opened.now)
            checkpoint = Checkpoint(stamp, start, opened.upper, pins, table.snapshot_id, plan)
            with _compute_in_session(runtime, applied, view, table, opened.source, checkpoint, report) as finished:
                yield finished
            return
        first = _resume(runtime, applied, view, table, report)
    # The state is another one now: an interrupted run was finished or dropped, or whoever had the lease has done the work.
    with run(runtime, leases, applied, view, start, end, report) as finished:
        yield finished if first is None else replace(finished, result=combine(first, finished.result))


@dataclass(frozen=True)
class _Inputs:
    """What a new run is computed from: the time, the end of its interval (both in microseconds), and the source as it is now."""

    now: int
    upper: int
    source: PinnedSource


def _open_inputs(runtime: Runtime, view: FeatureView, end: int | None) -> _Inputs:
    now = clock.now(runtime.catalog)
    return _Inputs(now, now if end is None else min(end, now), open_source(runtime, view.source))


def _resume(runtime: Runtime, applied: Applied, view: FeatureView, table: Table, report: OnViewProgress) -> RunResult | None:
    """Finish an interrupted run; None, with its checkpoint dropped, if it cannot be resumed."""
    interrupted = load_checkpoint(table)
    assert interrupted is not None
    source = _reopen_source(runtime, view, interrupted, table.snapshot_id)
    if source is None:
        _drop_checkpoint(table)
        return None
    with _compute_in_session(runtime, applied, view, table, source, interrupted, report) as resumed:
        return resumed.result


def _is_up_to_date(state: State, inputs: _Inputs) -> bool:
    """Whether the table is computed up to the end from this state of the source, schemas included: then there is nothing to look at."""
    return state.through is not None and inputs.upper <= state.through and dict(state.sources) == dict(inputs.source.pins)


def _chunk_plan(runtime: Runtime, view: FeatureView) -> str:
    """What the chunks of a run depend on, apart from its interval. A checkpoint with another plan cannot be resumed."""
    checks_of_view = [repr(check) for check in view.checks]
    settings = runtime.settings
    workers = [] if settings.engine is None else [settings.engine_from_rows]
    return json.dumps([CHUNKING, runtime.engine.version, settings.chunk_rows, settings.memory_limit, checks_of_view, *workers])


def _reopen_source(runtime: Runtime, view: FeatureView, checkpoint: Checkpoint, base: int | None) -> PinnedSource | None:
    """The source at the pins of an interrupted run; None if the run cannot be resumed.

    That is so if its source snapshots are gone, if the table has changed since (`base` is its current snapshot), or if the view would
    be divided into other chunks now.
    """
    if checkpoint.plan != _chunk_plan(runtime, view) or checkpoint.base != base:
        return None
    return open_source_at(runtime, view.source, checkpoint.pins)


def _drop_checkpoint(table: Table) -> None:
    """Drop a checkpoint that cannot be resumed. Nothing refers to its files any more, so maintenance removes them as orphans."""
    tables.set_properties(table, {}, [CHECKPOINT])


@contextmanager
def _compute_in_session(
    runtime: Runtime,
    applied: Applied,
    view: FeatureView,
    table: Table,
    source: PinnedSource,
    checkpoint: Checkpoint,
    report: OnViewProgress,
) -> Iterator[FinishedRun]:
    """Compute the remaining chunks in a new session, and commit all of them. The session stays open during the block."""
    metadata_before = table.metadata_location
    with runtime.engine.session([*reading.source_folders(source), *data_folders(runtime.operator.grant(table))]) as session:
        with reading.naming_changed(source):
            result, appended = _compute_and_commit(runtime, session, applied, view, table, source, checkpoint, report)
        if appended is not None:
            maintain_after_run(runtime, session, layout_of(view), table)
        yield FinishedRun(result, session, None if table.metadata_location == metadata_before else table, appended)


def _compute_and_commit(
    runtime: Runtime,
    session: Session,
    applied: Applied,
    view: FeatureView,
    table: Table,
    source: PinnedSource,
    checkpoint: Checkpoint,
    report: OnViewProgress,
) -> tuple[RunResult, AppendedRows | None]:
    """Compute the remaining chunks, and commit all of them; also returns the rows that the commit added, None without any."""
    state = feature_table.state_of(table.properties)
    raw = source_columns.add_columns(runtime, session, view, source)
    bound = source_columns.bind_source(view, source, raw, state)
    events = events_of(bound)
    types = reading.read_types(runtime, source, events.reads)
    columns = source_columns.read_columns(source, events.reads)
    changed = source_columns.have_changed(source, state, columns)
    if changed or (state.through is None and view.source.files is None):
        source_columns.check_types(session, applied, bound, raw)
    report(ViewProgress(view.name, "read", 0, 1, checkpoint.rows))
    interval = choose(session, view, events, state, source, checkpoint.start, checkpoint.upper, changed)
    if interval is None:
        return RunResult(), None
    # The bounds of all reads of the source and of the table, each of which is planned once.
    earliest = min(interval.lower, checks.first_read(view, interval.upper), *(span.read_lower for span in interval.spans))
    planned = reading.plan_rows(source, reading.TimeBounds(earliest, times.LAST))
    spanned = TimeRange("feature_timestamp", times.bound(interval.lower), times.bound(interval.upper))
    stored = PlannedScan(runtime.operator.grant(table), table.snapshot_id, spanned)
    max_rows = max_chunk_rows(runtime.settings, len(applied.columns))
    task = Task(session, applied, view, events, table, PinnedRows(runtime, planned), checkpoint.run, stored, max_rows)
    workers = None
    if (distributor := runtime.distributor) is not None:
        workers = DistributedRun(runtime, distributor, task, planned, stored, raw.types)
    counts = count_source(interval.spans[0], state.newest, lambda bounds: _count_rows(task, workers, bounds))
    files = writes.new_data_files(table)
    with files.discard_on(BaseException), _drop_checkpoint_if_refused(table):
        for span in interval.spans:
            checkpoint = _compute_span(task, workers, span, counts, checkpoint, files, report)
        reading.refuse_changed(source)
        outcomes = _judge_checks(
            runtime, task, planned, interval, checkpoint, continues=checkpoint.start is None and state.through is not None
        )
        properties = _next_state(state, interval, checkpoint, counts.newest, types, columns).to_properties()
        summary = {**properties, **_summary(applied, interval, counts, outcomes), AUTHOR: runtime.author}
        files.keep(checkpoint.files, checkpoint.rows - files.rows)
        before, made = table.snapshot_id, writes.append_files(table, files, summary=summary, properties=properties, drop=[CHECKPOINT])
    result = RunResult(
        max(interval.lower, times.FIRST),
        interval.upper,
        checkpoint.computed,
        checkpoint.rows,
        checkpoint.corrections,
        counts.future,
        counts.null_keys,
        outcomes,
    )
    if made is None:
        return result, None
    rows = scans.written_rows(runtime.operator.grant(table), files.described)
    return result, AppendedRows(before, made, rows if isinstance(rows, IcebergFiles) else None)


def _summary(applied: Applied, interval: Interval, counts: SourceCounts, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The properties of a run in its snapshot's summary, apart from the table's state."""
    return {
        RUN_ID: uuid.uuid4().hex,
        "featurestore.interval": f"{times.text(max(interval.lower, times.FIRST))}/{times.text(interval.upper)}",
        "featurestore.view-version": str(applied.version),
        NULL_KEYS: str(counts.null_keys),
        FUTURE_ROWS: str(counts.future),
        **checks.summary(outcomes),
    }


def _count_rows(task: Task, workers: DistributedRun | None, bounds: reading.TimeBounds | None) -> SourceCounts:
    counted = None if workers is None else workers.count_rows(bounds)
    return count_rows(task, bounds) if counted is None else counted


def _compute_span(
    task: Task,
    workers: DistributedRun | None,
    span: Span,
    counts: SourceCounts,
    checkpoint: Checkpoint,
    files: DataFiles,
    report: OnViewProgress,
) -> Checkpoint:
    """Compute what the checkpoint lacks of a span: on workers if there are some and it pays, else here, chunk by chunk."""
    if workers is not None:
        progress = SpanProgress(task.view.name, report)
        computed = workers.compute_span(span, counts, checkpoint, progress.show)
        if computed is not None:
            return computed
        if counts.relation is None:
            bounds = reading.TimeBounds(span.events_lower, span.events_upper)
            counts = replace(counts, relation=task.source.add(task.session, task.events.reads, bounds).relation)
    return _compute_chunks(task, open_span(task, span, counts), checkpoint, files, report)


def _compute_chunks(task: Task, open_span: OpenSpan, checkpoint: Checkpoint, files: DataFiles, report: OnViewProgress) -> Checkpoint:
    """Compute the remaining chunks of a span. If there are several, the checkpoint in the table is updated after each."""
    total = len(open_span.chunks)
    progress, resumed = SpanProgress(task.view.name, report), sum(str(chunk) in checkpoint.done for chunk in open_span.chunks)
    left = [chunk for chunk in open_span.chunks if str(chunk) not in checkpoint.done]
    for number, chunk in enumerate(left, resumed):
        progress.show(number, total, checkpoint.rows)
        checkpoint = _compute_chunk(task, open_span, chunk, checkpoint, files)
        if total > 1 and not chunk.point:
            checkpoint = replace(checkpoint, files=(*checkpoint.files, *files.paths))
            tables.set_properties(task.table, {CHECKPOINT: checkpoint.to_property()})
            files.release()
    report(ViewProgress(task.view.name, "write", total, total, checkpoint.rows))
    return checkpoint


def _compute_chunk(task: Task, open_span: OpenSpan, chunk: Chunk, checkpoint: Checkpoint, files: DataFiles) -> Checkpoint:
    counts = compute_chunk(task, open_span, chunk, files, lambda: tables.add_column(task.table, DELETED, pa.bool_()))
    return checkpoint.after(str(chunk), counts)


def _judge_checks(
    runtime: Runtime, task: Task, source: PinnedSource, interval: Interval, checkpoint: Checkpoint, continues: bool
) -> tuple[Outcome, ...]:
    """The outcomes of the view's checks; `continues` as for `checks.judge`. Raises: CheckFailed."""
    if not task.view.checks:
        return ()
    tally = Tally.from_dict(checkpoint.tally) if checkpoint.tally else Tally()
    newest = checks.find_newest_event(runtime, task.session, task.view, source, task.events, interval.upper)
    outcomes = checks.judge(task.view, tally, newest, interval.upper, continues, withhold=has_policy(runtime, task.view.name))
    checks.raise_on_errors(task.view, outcomes)
    return outcomes


def _next_state(
    state: State, interval: Interval, checkpoint: Checkpoint, newest: int | None, types: Mapping[str, str], columns: source_columns.Columns
) -> State:
    """The table's state after a run."""
    sources, read = (checkpoint.pins, columns) if checkpoint.start is None or state.through is None else (state.sources, state.columns)
    through = max(interval.upper, state.through or interval.upper)
    corrections = state.corrections + checkpoint.corrections
    updated = State(interval.since, through, sources, corrections, {**state.types, **types}, read, newest, state.ran)
    # A run without changes commits nothing, not even its time.
    return updated if updated == state and not checkpoint.rows else replace(updated, ran=checkpoint.run)


@contextmanager
def _drop_checkpoint_if_refused(table: Table) -> Iterator[None]:
    """Drop the checkpoint if the block refuses the source's data: a resumed run would fail on the same data, a new one reads them again."""
    try:
        yield
    except (CheckFailed, RequestError):
        if CHECKPOINT in table.properties:
            _drop_checkpoint(table)
        raise
