"""The online edition of a run: the new rows of each view are read and encoded in turn, and all become visible in one step."""

import dataclasses
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import CommitConflict, FeatureStoreError
from featurestore.lakehouse import commits, tables
from featurestore.lakehouse.table import Table
from featurestore.online.ahead import ahead_of, feature_table_of
from featurestore.online.store import Cursor, Edition
from featurestore.pipelines.materialization.changes_ahead import has_rows_ahead
from featurestore.pipelines.materialization.finished import AppendedRows
from featurestore.pipelines.materialization.publish import OnRows, TableReader
from featurestore.records import editions, feature_table, online_tables, stored_definition
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.values.result import SNAPSHOT_ID, Result

ATTEMPTS = 4
"""Number of attempts to commit an edition while others publish the same tables."""


@dataclass(frozen=True)
class Published:
    """The snapshot of a table that is now online (None while the table has no rows), and the number of rows written for it."""

    snapshot_id: int | None
    rows: int = 0


@dataclass(frozen=True, eq=False)
class Publication(Result):
    """The publish of one version of a view: the number of rows written, and the snapshot of its table that is now online.

    `snapshot_id` is None for a view that was never materialized or has no rows.
    """

    view: str
    table: str
    rows: int
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)


@dataclass(frozen=True)
class Fill:
    """How `add` fills a lost table: with its recorded state, None: with its current one. One that is not lost any more is left alone."""

    recorded: Cursor | None


@dataclass
class _Staged:
    """A table of an edition: the arguments of `add`, the table that was read, its cursor, and whether that changes."""

    applied: Applied
    view: FeatureView
    full: bool
    fill: "Fill | None"
    table: Table
    cursor: Cursor
    changed: bool


@dataclass(frozen=True)
class Outcome:
    """The outcome of an edition: its published tables by name, and the errors of the others."""

    published: Mapping[str, Published]
    errors: Mapping[str, FeatureStoreError] = field(default_factory=dict)


class EditionPublisher:
    """Publishes feature tables: `add` reads and encodes each, `commit` makes all visible at once. A context manager."""

    def __init__(self, runtime: Runtime, on_rows: OnRows | None = None) -> None:
        self._runtime = runtime
        self._reader = TableReader(runtime, on_rows)
        self._stack = ExitStack()
        self._opened: Edition | None = None
        self._staged: dict[str, _Staged] = {}

    def add(
        self,
        applied: Applied,
        view: FeatureView,
        full: bool = False,
        session: Session | None = None,
        table: Table | None = None,
        fill: Fill | None = None,
        appended: AppendedRows | None = None,
    ) -> None:
        """Add the rows and the watermark that the online store lacks of the table's current snapshot; with `full`, all rows.

        The online store records the snapshot that it has, so the next publish completes a run that ended between append and publish.
        All rows are added if the online table is absent, lacks rows, or belongs to a table of another catalog.

        `session` is a session that may read the table's files; its tables are dropped. `table` is the feature table if it was just
        loaded. Without them, a session is opened and the table is loaded. `appended` are the rows of the table's last commit, if known.
        """
        name = applied.table
        table, cursor, since = self._reader.load_cursors(name, table)
        replace = full or self._reader.must_replace(table, applied, view, since)
        self._discard(name)
        if replace:
            # The rows will be those of the snapshot only.
            cursor = dataclasses.replace(cursor, pushed=None)
        if fill is not None:
            if not replace:
                # Others have published it meanwhile.
                self._staged.pop(name, None)
                return
            if fill.recorded is not None and editions.is_readable(fill.recorded, table):
                cursor = fill.recorded
        if since != cursor or replace:
            self._reader.read(self._edition(), applied, view, table, cursor, since, replace, session, appended)
        if has_rows_ahead(view) and (since != cursor or replace or self._reader.lacks_rows_ahead(applied, view, since)):
            self._reader.read_ahead(self._edition(), applied, view, table, cursor, session)
        self._staged[name] = _Staged(applied, view, full, fill, table, cursor, since != cursor)

    def commit(self) -> Outcome:
        """Make all tables visible. A table that others publish meanwhile is read again; after the last attempt, the edition is committed
        without it.
        """
        written: Mapping[str, int] = {}
        errors: dict[str, FeatureStoreError] = {}

        def recover(conflict: CommitConflict) -> None:
            for name in self._conflicting(conflict):
                staged = self._staged[name]
                try:
                    self.add(staged.applied, staged.view, staged.full, fill=staged.fill)
                except FeatureStoreError as error:
                    errors[name] = error
                    self._drop(name)

        while self._staged:
            try:
                written = commits.retry(
                    ", ".join(self._staged),
                    self._commit_edition,
                    undone="its newest rows are not online",
                    attempts=ATTEMPTS,
                    recover=recover,
                )
                break
            except CommitConflict as error:
                for name in self._conflicting(error):
                    errors[name] = error
                    self._drop(name)
            except FeatureStoreError as error:
                return Outcome({}, {**errors, **dict.fromkeys(self._staged, error)})
        for staged in self._staged.values():
            online_tables.note_published(self._runtime, staged.table)
        published = {name: Published(staged.cursor.snapshot_id, written.get(name, 0)) for name, staged in self._staged.items()}
        return Outcome(published, errors)

    def _commit_edition(self) -> Mapping[str, int]:
        changed = {name: staged.cursor for name, staged in self._staged.items() if staged.changed and staged.fill is None}
        if changed:
            editions.record(self._runtime, changed)
        return self._edition().commit()

    def _conflicting(self, error: CommitConflict) -> list[str]:
        """The table that a conflict names; all tables if it names none of this edition."""
        name = feature_table_of(str(error.details.get("table")))
        return [name] if name in self._staged else list(self._staged)

    def _drop(self, name: str) -> None:
        del self._staged[name]
        self._discard(name)

    def _discard(self, name: str) -> None:
        if self._opened is not None:
            self._opened.discard(name)
            self._opened.discard(ahead_of(name))

    def _edition(self) -> Edition:
        if self._opened is None:
            self._opened = self._stack.enter_context(self._runtime.online.edition())
        return self._opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def publish_views(runtime: Runtime, versions: Iterable[Applied], full: bool) -> list[Publication]:
    """Publish versions of views, which become visible together. A version that was never materialized has nothing to publish.

    Rows are read as the store does, whoever asked: none of them is returned.

    Raises: CommitConflict if others publish or empty a table during each attempt; the other tables are published.
    """
    runtime, requested = runtime.as_operator(), list(versions)
    with EditionPublisher(runtime) as publisher:
        for applied in requested:
            view = stored_definition.checked_stored_view(applied.name, applied.version, applied.document, applied.columns)
            table = tables.load(runtime.catalog, runtime.features_table(applied.table))
            if feature_table.state_of(table.properties).through is not None:
                publisher.add(applied, view, full, table=table)
        outcome = publisher.commit()
    for error in outcome.errors.values():
        raise error
    results = []
    for applied in requested:
        published = outcome.published.get(applied.table, Published(None))
        results.append(Publication(applied.name, applied.table, published.rows, published.snapshot_id))
    return results
