"""Write rows to a table by key: compare them with the rows that it has, append what differs in one commit, and publish that."""

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from featurestore.compiler import chunk_rows, log_diff, newest_rows, written_rows
from featurestore.compiler.log_diff import DELETED, Compared
from featurestore.compiler.query import Query, all_rows
from featurestore.compiler.relations import Handle
from featurestore.engine.results import count
from featurestore.engine.session import Session
from featurestore.errors import Conflict, FeatureStoreError, RequestError, brief
from featurestore.lakehouse import clock, commits, scans, tables, writes
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.pipelines.materialization.edition import EditionPublisher
from featurestore.pipelines.materialization.writing import FeatureFiles
from featurestore.pipelines.written.rows import GivenRows, read_rows
from featurestore.records import definitions, feature_table
from featurestore.records.authors import AUTHOR, RUN_ID
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.records.written_tables import WrittenTable, load_written_table, written_version
from featurestore.values import times
from featurestore.values.arguments import check_text
from featurestore.values.coercion import quote_value
from featurestore.values.result import SNAPSHOT_ID, Result

WriteMode: TypeAlias = Literal["merge", "append", "overwrite"]
MODES: tuple[WriteMode, ...] = ("merge", "append", "overwrite")
ATTEMPTS = 100
"""Number of attempts of a write: each lost one means that another writer's commit landed."""
ROWS = "featurestore.rows"
"""The entry of a snapshot's summary with the number of rows that were given to the write."""


@dataclass(frozen=True, eq=False)
class TableWrite(Result):
    """The result of a write. Of the `rows` that were given, `rows_appended` were new or changed; these include `corrections` of stored
    rows and `deletions` of rows that an overwrite left out.

    `snapshot_id` is the table's snapshot after the write, None while it has no rows; `published` is the number of rows written online.
    """

    table: str
    mode: WriteMode
    rows: int
    rows_appended: int
    corrections: int
    deletions: int
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)
    published: int
    run_id: str
    seconds: float


@dataclass(frozen=True)
class _Appended:
    """What one attempt appended, and the session and table that the publish reuses."""

    written: WrittenTable
    session: Session
    rows: int = 0
    corrections: int = 0
    deletions: int = 0


@dataclass(frozen=True)
class _Attempt:
    """One attempt of a write on the state of the table that `written` shows; `run` is its time in microseconds."""

    session: Session
    written: WrittenTable
    stored: Granted
    given: GivenRows
    mode: WriteMode
    state: State
    run: int

    @property
    def keys(self) -> list[str]:
        return self.written.keys

    @property
    def deletions(self) -> bool:
        """Whether the table's snapshot has the column DELETED."""
        table = self.written.table
        return (snapshot := table.snapshot_id) is not None and DELETED in tables.schema_of(table, snapshot).column_names


def write_table(runtime: Runtime, name: str, frame: Any, mode: str, run_id: str | None = None) -> TableWrite:
    """Write rows to a table, and publish them.

    Raises: NotFound, Conflict, RequestError and TypeMismatch, with nothing written; CommitConflict after too many conflicts.
    """
    started = time.monotonic()
    # Whoever may write a table has its rows compared with what it has, and published.
    runtime = runtime.as_operator()
    checked = check_mode(mode)
    run = uuid.uuid4().hex if run_id is None else _check_run_id(run_id)
    applied = written_version(definitions.read_registry(runtime), check_text(name, "name"))
    prepared = read_rows(frame, load_written_table(runtime, applied), clock.now(runtime.catalog))
    with ExitStack() as stack:

        def attempt() -> _Appended:
            with ExitStack() as attempt_stack:
                written = load_written_table(runtime, applied)
                stored = runtime.operator.grant(written.table)
                session = attempt_stack.enter_context(runtime.engine.session(data_folders(stored)))
                origin = {RUN_ID: run, AUTHOR: runtime.author}
                appended = _append(session, written, stored, prepared, checked, origin, clock.now(runtime.catalog))
                # Kept open for the publish, which reads the same files.
                stack.push(attempt_stack.pop_all())
            return appended

        done = commits.retry(runtime.features_table(applied.table), attempt, undone="nothing was written", attempts=ATTEMPTS)
        snapshot_id = done.written.table.snapshot_id
        published = _publish(runtime, done, snapshot_id)
    counts = (prepared.table.num_rows, done.rows, done.corrections, done.deletions, snapshot_id, published)
    return TableWrite(applied.name, checked, *counts, run, time.monotonic() - started)


def check_mode(mode: Any) -> WriteMode:
    """Check the mode of a write. Raises: RequestError."""
    for known in MODES:
        if mode == known:
            return known
    raise RequestError(f"mode={brief(mode)} must be one of {', '.join(map(repr, MODES))}", field="mode")


def _check_run_id(run_id: Any) -> str:
    text = check_text(run_id, "run_id")
    if not 0 < len(text) <= 128 or not text.isprintable():
        raise RequestError(f"run_id={brief(text)} must have 1 to 128 printable characters", field="run_id")
    return text


def _append(
    session: Session, written: WrittenTable, stored: Granted, prepared: GivenRows, mode: WriteMode, origin: Mapping[str, str], now: int
) -> _Appended:
    """Append the rows that differ, in one commit on the state of the table that `written` shows.

    `origin` has its run and its author; `now` is in microseconds.
    """
    table, run_id = written.table, origin[RUN_ID]
    if writes.has_batch(table, run_id):
        return _Appended(written, session)
    state = feature_table.state_of(table.properties)
    # Later than every row of the table, also where clocks differ: two writes never share a time.
    run = feature_table.next_stamp(table.name, state.through, now)
    at = prepared.at(run) if written.timestamp is None else prepared
    attempt = _Attempt(session, written, stored, at, mode, state, run)
    appended, rows = _appended_rows(attempt)
    if not rows:
        return _Appended(written, session)
    corrections, deletions = (count(session, part(appended)) for part in (chunk_rows.corrections, chunk_rows.tombstones))
    if deletions:
        tables.add_column(table, DELETED, pa.bool_())
    files = writes.new_data_files(table)
    with files.discard_on(BaseException):
        writer = FeatureFiles(session, table, written.keys, written.applied.columns)
        writer.write(all_rows(appended), files, rows // at.months, "created_timestamp", deletions=deletions > 0)
        newest = max(filter(None, (state.newest, (at.ends or (0, 0))[1])), default=None)
        properties = State(through=run, corrections=state.corrections + corrections, newest=newest, ran=run).to_properties()
        about = {writes.OPERATION: mode, **origin, writes.BATCH_ID: run_id, ROWS: str(prepared.table.num_rows)}
        writes.append_files(table, files, summary={**properties, **about}, properties=properties)
    return _Appended(written, session, rows, corrections, deletions)


def _appended_rows(attempt: _Attempt) -> tuple[Handle, int]:
    """The rows to append, in a table of the session, and their number."""
    session, written = attempt.session, attempt.written
    frame_rows = session.create_table("__fs_given", all_rows(session.add("__fs_frame", attempt.given.table)))
    stored = _stored_rows(attempt, frame_rows)
    latest = session.create_table("__fs_stored_latest", log_diff.latest_versions(stored, attempt.keys))
    current = _current_rows(attempt, latest)
    merged = written_rows.merged_rows(
        frame_rows, current, attempt.keys, list(written.features), attempt.given.lacking, timed=written.timestamp is not None
    )
    computed = session.create_table("__fs_computed", merged)
    vanished = session.create_table("__fs_vanished", _vanished_rows(attempt, latest, computed))
    compared = Compared(computed, computed, stored, latest, vanished)
    appended = session.create_table("__fs_appended", log_diff.appended_rows(attempt.keys, written.features, False, compared, attempt.run))
    if attempt.mode == "append":
        _refuse_changed(attempt, appended, latest)
    return appended, count(session, appended)


def _stored_rows(attempt: _Attempt, frame_rows: Handle) -> Handle:
    """The stored versions of the rows that the write may change: those of the keys and times given, and in an overwrite all rows."""
    table, keys = attempt.written.table, attempt.keys
    snapshot_id, lower, upper = table.snapshot_id, times.FIRST, times.LAST
    whole = attempt.mode == "overwrite"
    if not whole and attempt.written.timestamp is None and not attempt.given.lacking:
        # Every row has a new time, and nothing is taken over from stored rows.
        snapshot_id = None
    elif not whole and attempt.written.timestamp is not None:
        lower, upper = attempt.given.ends or (times.FIRST, times.FIRST)
    within = TimeRange("feature_timestamp", times.bound(lower), times.bound(upper))
    deletions = attempt.deletions and snapshot_id is not None
    names = [*attempt.written.applied.columns, *([DELETED] if deletions else [])]
    log = attempt.session.add("__fs_log", scans.scan_snapshot(attempt.stored, snapshot_id, columns=names, time=within))
    rows = chunk_rows.stored_rows(log, list(attempt.written.applied.columns), lower, upper, deletions=deletions)
    if not whole:
        rows = newest_rows.rows_of_keys(rows, keys, frame_rows, "SEMI")
    return attempt.session.create_table("__fs_stored", rows)


def _current_rows(attempt: _Attempt, latest: Handle) -> Query:
    """The stored row that each given row takes lacking features from: of the same time, or without a timestamp column the newest."""
    rows = written_rows.live(latest)
    if attempt.written.timestamp is not None or not attempt.given.lacking:
        return rows
    names = [*attempt.keys, *attempt.written.features]
    return newest_rows.newest_rows(all_rows(latest), rows, attempt.keys, names, deletions=True)


def _vanished_rows(attempt: _Attempt, latest: Handle, computed: Handle) -> Query:
    """The stored rows that the write deletes: in an overwrite those that it leaves out, else none.

    Without a timestamp column the earlier rows of a key that is written again stay: they were true until then.
    """
    if attempt.mode == "overwrite" and attempt.written.timestamp is None:
        return written_rows.live_rows_of_other_keys(latest, computed, attempt.keys)
    if attempt.mode == "overwrite":
        return log_diff.vanished_rows(attempt.keys, latest, computed)
    return chunk_rows.rows_between(latest, 1, 0)


def _refuse_changed(attempt: _Attempt, appended: Handle, latest: Handle) -> None:
    """Raises: Conflict naming the first row that an append would change."""
    changed: Sequence[dict[str, Any]] = (
        attempt.session.batches(written_rows.changed_row(appended, latest, attempt.keys)).read_all().to_pylist()
    )
    for row in changed:
        shown = ", ".join(f"{name}={quote_value(row[name])}" for name in attempt.keys)
        at = times.text(times.micros(row["feature_timestamp"]))
        raise Conflict(
            f"table {attempt.written.view.name} has a row with {shown} at {at} and other values; mode='append' only adds rows, and"
            " mode='merge' corrects them. Nothing was written",
            table=attempt.written.view.name,
        )


def _publish(runtime: Runtime, done: _Appended, snapshot_id: int | None) -> int:
    """Publish what was appended, or what an earlier write left unpublished. Returns the number of rows written online."""
    written = done.written
    if snapshot_id is None:
        return 0
    try:
        with EditionPublisher(runtime) as publisher:
            publisher.add(written.applied, written.view, session=done.session, table=written.table)
            outcome = publisher.commit()
        for error in outcome.errors.values():
            raise error
    except FeatureStoreError as error:
        error.message = (
            f"the rows are written to table {written.view.name} (snapshot {snapshot_id}), and are not online yet: {error.message}."
            " featurestore publish completes it, and so does the next write"
        )
        raise
    return outcome.published[written.applied.table].rows
