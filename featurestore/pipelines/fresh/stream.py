"""One pushed source, and the views whose online rows follow its events.

A step reads the log after the offset that the online rows have, computes the rows of the keys with new events, and adds them in one
edition with the new offset, which is refused if another process did so meanwhile. So any process may take a step: none is lost, and none
counts twice.
"""

import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack

import pyarrow as pa

from featurestore.compiler.bound_view import bind_view
from featurestore.compiler.chunk_rows import cast_rows
from featurestore.compiler.events import events_of
from featurestore.compiler.grid import has_unbounded_windows, longest_window
from featurestore.compiler.views import row_view_rows
from featurestore.dsl.source import Source
from featurestore.dsl.view import CONTINUOUS, FeatureView
from featurestore.engine.session import Session
from featurestore.errors import CommitConflict, FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.online.ahead import ahead_of
from featurestore.online.store import Cursor, Edition
from featurestore.pipelines.materialization.changes_ahead import CLOCKS_APART, pushed_rows_ahead
from featurestore.pipelines.materialization.pushed_events import PushedEvents
from featurestore.records import feature_table
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.pushed_table import load_pushed_table
from featurestore.values import times

logger = logger_of(__name__)

ATTEMPTS = 20
"""Attempts of a step: each conflict means that another process has brought events online."""


@dataclasses.dataclass(frozen=True)
class FollowingView:
    """A version of a view over the source. `table` is its feature table as it was when the views were looked up."""

    applied: Applied
    view: FeatureView
    table: Table

    @property
    def online(self) -> str:
        """The online table that has the rows of pushed events."""
        return self.applied.table if self.view.every is None else ahead_of(self.applied.table)


class PushedStream:
    """Brings the events of a source online. Used by one thread at a time."""

    def __init__(self, runtime: Runtime, source: Source, views: Sequence[tuple[Applied, FeatureView]]) -> None:
        """`views` are versions of views over the source, the current one of each last. Those on a grid do not follow, nor earlier
        versions that are not online.
        """
        self._runtime, self._source = runtime, source
        current = {applied.name: applied.table for applied, _ in views}
        self._views = [
            FollowingView(applied, view, tables.load(self._runtime.catalog, self._runtime.features_table(applied.table)))
            for applied, view in views
            if view.every in (None, CONTINUOUS) and (applied.table in current.values() or runtime.online.cursor(applied.table) is not None)
        ]
        self._stack = ExitStack()
        self._loaded: tuple[str | None, PushedEvents, Session] | None = None

    def step(self) -> int | None:
        """Bring what was pushed online. Returns the offset up to which it is; None if no view follows.

        Raises: NotReady if the log, the catalog or the online store cannot be reached; CommitConflict after many attempts.
        """
        if not self._views:
            return None
        for attempt in range(ATTEMPTS):
            try:
                return self._step()
            except CommitConflict:
                if attempt + 1 == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close the session."""
        self._loaded = None
        self._stack.close()

    def _step(self) -> int:
        pushed, session = self._events()
        behind = [view for view in self._views if (cursor := self._cursor(view)) is None or cursor.pushed != pushed.offset]
        exist, failure = True, None
        with self._runtime.online.edition() as edition:
            for view in behind:
                try:
                    exist &= self._follow(edition, session, pushed, view)
                except FeatureStoreError as error:
                    # The other views follow nevertheless.
                    error.message = f"view {view.applied.name}: {error.message}"
                    edition.discard(view.online)
                    failure = failure or error
            edition.commit(rows_only=exist)
        if failure is not None:
            raise failure
        return pushed.offset

    def _events(self) -> tuple[PushedEvents, Session]:
        """The events as they are now. Those of the table are kept in a session until the table changes."""
        pointer = tables.pointer(self._runtime.catalog, self._source.kept_table)
        if self._loaded is not None and self._loaded[0] == pointer:
            _, pushed, session = self._loaded
            pushed.read_log()
            return pushed, session
        self.close()
        granted = load_pushed_table(self._runtime, self._source)
        session = self._stack.enter_context(self._runtime.engine.session(data_folders(granted)))
        pushed = PushedEvents(self._runtime, self._source, granted)
        if (lower := self._lower()) is not None:
            pushed.keep(session, lower)
        self._loaded = (pointer, pushed, session)
        pushed.read_log()
        return pushed, session

    def _lower(self) -> int | None:
        """The time from which on the continuous views need events; None if there is no such view."""
        bounds = []
        for following in self._views:
            if following.view.every == CONTINUOUS:
                cursor = self._runtime.online.cursor(following.applied.table)
                through = None if cursor is None else cursor.materialized_through
                whole = through is None or has_unbounded_windows(following.view)
                bounds.append(times.FIRST if whole or through is None else through - longest_window(following.view) - 1)
        return min(bounds, default=None)

    def _cursor(self, following: FollowingView) -> Cursor | None:
        return self._runtime.online.cursor(following.online)

    def _follow(self, edition: Edition, session: Session, pushed: PushedEvents, following: FollowingView) -> bool:
        """Add what a view lacks to the edition; whether it only changes rows of a table that exists."""
        since = self._cursor(following)
        newest = self._runtime.online.cursor(following.applied.table)
        if newest is None and feature_table.state_of(following.table.properties).through is not None:
            # It was lost, or its first publish is on the way; that brings the rows of the snapshot, and a step those of the log.
            return True
        if since is not None and since.pushed == pushed.offset:
            return True
        base = since or newest or Cursor(None, None, following.table.uuid)
        cursor = dataclasses.replace(base, pushed=pushed.offset)
        changed = None if since is None or since.pushed is None else pushed.after(since.pushed)
        if following.view.every is None:
            self._add_rows(edition, session, pushed, following, changed, cursor, since)
        else:
            self._add_ahead(edition, session, pushed, following, changed, dataclasses.replace(cursor, snapshot_id=base.snapshot_id), since)
        return since is not None

    def _add_rows(
        self,
        edition: Edition,
        session: Session,
        pushed: PushedEvents,
        following: FollowingView,
        changed: pa.Table | None,
        cursor: Cursor,
        since: Cursor | None,
    ) -> None:
        """The rows of a row view: of new events; or of all, of which those that are online already change nothing."""
        view, columns = following.view, dict(following.applied.columns)
        raw = session.add("__fs_new", changed) if changed is not None else pushed.add(session, name="__fs_new").relation
        events = events_of(bind_view(view, pushed.schema.names))
        within = events.rows(raw, times.FIRST, times.now() + CLOCKS_APART)
        types = pushed.types(session, events, following.applied.table)
        rows = cast_rows(columns, row_view_rows(view, events, types, within))
        edition.add(following.online, session.batches(rows), keys=tuple(view.entity.keys), cursor=cursor, since=since)

    def _add_ahead(
        self,
        edition: Edition,
        session: Session,
        pushed: PushedEvents,
        following: FollowingView,
        changed: pa.Table | None,
        cursor: Cursor,
        since: Cursor | None,
    ) -> None:
        """The rows ahead of a continuous view, of the keys with new events; or of all keys."""
        applied, view, table, keys = following.applied, following.view, following.table, tuple(following.view.entity.keys)
        found = pushed_rows_ahead(self._runtime, session, applied, view, table, pushed, cursor.materialized_through, changed)
        rows = session.batches(found.query).read_all()
        removed = rows.select(list(keys)) if changed is not None else None
        edition.add(following.online, rows, keys=keys, cursor=cursor, since=since, replace=changed is None, removed=removed)
