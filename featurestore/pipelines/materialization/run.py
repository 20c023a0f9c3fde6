"""One run over a view's table: compute its interval chunk by chunk, and land all of it in one commit.

A run of several chunks notes each that is ready in the table, so that a run that was cut off is gone on with.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa

from featurestore.compiler.log_diff import DELETED, first_rows
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import CheckFailed, RequestError
from featurestore.lakehouse import tables, writes
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.folders import data_folders
from featurestore.pipelines.materialization import checks, source_columns
from featurestore.pipelines.materialization.checkpoint import UNFINISHED, Unfinished, unfinished
from featurestore.pipelines.materialization.checks import Outcome, Tally
from featurestore.pipelines.materialization.chunks import CUT, Chunk
from featurestore.pipelines.materialization.compute import (
    OpenSpan,
    SourceCounts,
    Task,
    chunk_of,
    count_source,
    events_are_unique,
    open_span,
)
from featurestore.pipelines.materialization.finished import Finished, Landed, add
from featurestore.pipelines.materialization.interval import Interval, choose
from featurestore.pipelines.materialization.row_diff import compare
from featurestore.pipelines.materialization.writing import write
from featurestore.records import feature_table
from featurestore.records.definitions import Applied
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource, open_source, open_source_at
from featurestore.values import times

NULL_KEYS = "featurestore.null-keys"
FUTURE_ROWS = "featurestore.future-rows"


@dataclass(frozen=True)
class ViewProgress:
    """How far the materialization of one view is: `done` of `total` chunks, `rows` to append so far.

    `stage` is read, compute, write, publish or done; `total` is 1 until the chunks are known. `seconds_left` is an
    estimate for the chunks that are left, None before the first is done.
    """

    view: str
    stage: str
    done: int
    total: int
    rows: int
    seconds_left: float | None = None


OnViewProgress = Callable[[ViewProgress], None]


@contextmanager
def run(
    runtime: Runtime, applied: Applied, view: FeatureView, start: int | None, end: int | None, report: OnViewProgress
) -> Iterator[Finished]:
    """Bring the table of a view's version up to `end` (microseconds; the present when None or later), after what an
    earlier run has left unfinished. The session stays open for as long as the block lasts.

    Raises: CommitConflict when another run was first: what is ready stays, and the next try goes on from there.
    CheckFailed, RequestError, TypeMismatch, OutOfResources: then no row was added.
    """
    table = tables.load(runtime.catalog, runtime.features_table(applied.table))
    view = replace(view, source=reading.with_known_types(view.source, feature_table.state_of(table.properties).types))
    held = unfinished(table)
    if held is not None:
        source = _source_of(runtime, view, held, tables.current_snapshot_id(table))
        if source is not None:
            with _computed(runtime, applied, view, table, source, held, report) as left:
                landed = left.landed
            with run(runtime, applied, view, start, end, report) as finished:
                yield replace(finished, landed=add(landed, finished.landed))
            return
        _forget(table)
    now = times.now()
    upper = now if end is None else min(end, now)
    source = open_source(runtime, view.source)
    work = Unfinished(now, start, upper, source.pins, tables.current_snapshot_id(table), _plan(runtime, view))
    with _computed(runtime, applied, view, table, source, work, report) as finished:
        yield finished


def _plan(runtime: Runtime, view: FeatureView) -> str:
    """What the chunks of a run depend on besides its interval: they must be cut in the same way to be gone on with."""
    checked = [repr(check) for check in view.checks]
    return json.dumps([CUT, runtime.engine.version, runtime.settings.chunk_rows, runtime.settings.memory_limit, checked])


def _source_of(runtime: Runtime, view: FeatureView, held: Unfinished, base: int | None) -> PinnedSource | None:
    """The source as an unfinished run reads it; None where the run cannot be gone on with: what it set out to read, or to compare
    with, is not there any more, or its chunks would be cut otherwise.
    """
    if held.plan != _plan(runtime, view) or held.base != base:
        return None
    return open_source_at(runtime, view.source, held.pins)


def _forget(table: tables.Table) -> None:
    """Give up what cannot be gone on with; its files are reached by nothing then, and are swept."""
    tables.set_properties(table, {}, [UNFINISHED])


@contextmanager
def _computed(
    runtime: Runtime,
    applied: Applied,
    view: FeatureView,
    table: tables.Table,
    source: PinnedSource,
    work: Unfinished,
    report: OnViewProgress,
) -> Iterator[Finished]:
    """Compute what is left of the work in a session of its own, and land all of it."""
    loaded = table.metadata_location
    with runtime.engine.session([*reading.source_folders(source), *data_folders(table)]) as session:
        with reading.naming_changed(source):
            landed = _compute(runtime, session, applied, view, table, source, work, report)
        yield Finished(landed, session, None if table.metadata_location == loaded else table)


def _compute(
    runtime: Runtime,
    session: Session,
    applied: Applied,
    view: FeatureView,
    table: tables.Table,
    source: PinnedSource,
    work: Unfinished,
    report: OnViewProgress,
) -> Landed:
    """Compute what is left of the work, and land all of it."""
    held = feature_table.state_of(table.properties)
    events = source_columns.source_events(runtime, session, view, source, held)
    types = reading.read_types(runtime, source, events.reads)
    columns = source_columns.read_columns(source, events.reads)
    changed = source_columns.have_changed(source, held, columns)
    if changed or (held.through is None and view.source.path is None):
        source_columns.check_types(session, applied, view)
    task = Task(runtime, session, applied, view, events, table, source, work.run)
    report(ViewProgress(view.name, "read", 0, 1, work.rows))
    interval = choose(session, view, events, held, source, work.start, work.upper, changed)
    if interval is None:
        return Landed()
    counts = count_source(task, interval.spans[0], held.newest)
    files = writes.new_data_files(table)
    with files.discarded_on(BaseException), _given_up_on_refusal(table):
        for span in interval.spans:
            work = _compute_span(task, open_span(task, span, counts), work, files, report)
        reading.refuse_changed(source)
        outcomes = _checked(task, interval, work, onward=work.start is None and held.through is not None)
        properties = _state(held, interval, work, counts.newest, types, columns).to_properties()
        summary = {**properties, **_summary(applied, interval, counts, outcomes)}
        files.keep(work.files, work.rows - files.rows)
        writes.append_files(table, files, summary=summary, properties=properties, drop=[UNFINISHED])
    return Landed(
        max(interval.lower, times.FIRST),
        interval.upper,
        work.computed,
        work.rows,
        work.corrections,
        counts.future,
        counts.null_keys,
        outcomes,
    )


def _summary(applied: Applied, interval: Interval, counts: SourceCounts, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """What the snapshot of a run says of it, besides the state of the table."""
    return {
        "featurestore.run-id": uuid.uuid4().hex,
        "featurestore.interval": f"{times.text(max(interval.lower, times.FIRST))}/{times.text(interval.upper)}",
        "featurestore.view-version": str(applied.version),
        NULL_KEYS: str(counts.null_keys),
        FUTURE_ROWS: str(counts.future),
        **checks.summary(outcomes),
    }


def _compute_span(task: Task, opened: OpenSpan, work: Unfinished, files: DataFiles, report: OnViewProgress) -> Unfinished:
    """Compute the chunks of a span that are not done. Of several each is noted in the table when its files are ready."""
    total = len(opened.chunks)
    began, first = time.monotonic(), sum(str(chunk) in work.done for chunk in opened.chunks)
    for number, chunk in enumerate(opened.chunks):
        if str(chunk) in work.done:
            continue
        left = (time.monotonic() - began) / (number - first) * (total - number) if number > first else None
        report(ViewProgress(task.view.name, "compute", number, total, work.rows, left))
        work = _compute_chunk(task, opened, chunk, work, files)
        if total > 1 and not chunk.point:
            work = replace(work, files=(*work.files, *files.paths))
            tables.set_properties(task.table, {UNFINISHED: work.to_property()})
            files.release()
    report(ViewProgress(task.view.name, "write", total, total, work.rows))
    return work


def _compute_chunk(task: Task, opened: OpenSpan, chunk: Chunk, work: Unfinished, files: DataFiles) -> Unfinished:
    tally = Tally.from_dict(work.tally) if work.tally else Tally()
    written = _write_unseen(task, opened, chunk, files)
    if written is not None:
        computed = appended = written
        corrections = 0
    else:
        found = compare(task, chunk_of(task, opened, chunk), opened.fresh)
        computed, corrections = found.computed_rows, found.corrections
        tally += checks.tally(task.session, task.view, found.computed) if task.view.checks else Tally()
        if found.deletions:
            tables.add_column(task.table, DELETED, pa.bool_())
        appended = write(task, chunk, found.rows, files, "created_timestamp", deletions=found.deletions > 0) or 0
    return replace(
        work,
        done=(*work.done, str(chunk)),
        computed=work.computed + computed,
        rows=work.rows + appended,
        corrections=work.corrections + corrections,
        tally=tally.to_dict(),
    )


def _write_unseen(task: Task, opened: OpenSpan, chunk: Chunk, files: DataFiles) -> int | None:
    """Write the rows of a chunk that the table holds nothing of as they come, without a copy of them; returns how many.

    None where they must be looked at first: for checks, or because some share keys and feature_timestamp.
    """
    if not opened.fresh or task.view.checks:
        return None
    if task.view.every is None and not chunk.of_one_month and not events_are_unique(task, chunk):
        return None
    rows = first_rows(task.keys, task.features, chunk_of(task, opened, chunk, unique=True).computed)
    # In a file of one month, rows of one moment lie side by side: seeing that there are none takes a tenth of looking for them.
    return write(task, chunk, rows, files, alone=task.view.every is None and chunk.of_one_month)


def _checked(task: Task, interval: Interval, work: Unfinished, onward: bool) -> tuple[Outcome, ...]:
    """The outcomes of the view's checks; `onward` as for `checks.judge`. Raises: CheckFailed."""
    if not task.view.checks:
        return ()
    tally = Tally.from_dict(work.tally) if work.tally else Tally()
    newest = checks.newest_event(task.runtime, task.session, task.view, task.source, task.events, interval.upper)
    outcomes = checks.judge(task.view, tally, newest, interval.upper, onward)
    checks.raise_on_errors(task.view, outcomes)
    return outcomes


def _state(
    held: State, interval: Interval, work: Unfinished, newest: int | None, types: Mapping[str, str], columns: source_columns.Columns
) -> State:
    seen, read = (work.pins, columns) if work.start is None or held.through is None else (held.sources, held.columns)
    through = max(interval.upper, held.through or interval.upper)
    corrections = held.corrections + work.corrections
    state = State(interval.since, through, seen, corrections, {**held.types, **types}, read, newest, held.ran)
    # A run that changes nothing commits nothing, not even its time.
    return state if state == held and not work.rows else replace(state, ran=work.run)


@contextmanager
def _given_up_on_refusal(table: tables.Table) -> Iterator[None]:
    """What the data do not allow, no later run can go on with: it begins anew, on data that may be better."""
    try:
        yield
    except (CheckFailed, RequestError):
        if UNFINISHED in table.properties:
            _forget(table)
        raise
