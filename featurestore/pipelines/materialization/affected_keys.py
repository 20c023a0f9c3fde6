"""Find the keys to recompute up to the watermark, because their events changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from featurestore.compiler import changed_keys
from featurestore.compiler.events import Events
from featurestore.compiler.query import Query, Source, all_rows
from featurestore.compiler.relations import Handle
from featurestore.engine.results import single_row
from featurestore.engine.session import Relation, Session
from featurestore.lakehouse.scans import Changes
from featurestore.values import times


@dataclass(frozen=True)
class AffectedKeys:
    """Keys whose events changed. `relation` has each key with the time of its first change; `first` is the earliest, in microseconds."""

    relation: Handle
    first: int

    def source_rows(self, events: Events, rows: Source) -> Query:
        """The raw rows of the source that have these keys."""
        return changed_keys.source_rows_of_changed(events, rows, self.relation)

    def feature_rows(self, keys: Sequence[str], rows: Query) -> Query:
        """The feature rows that have these keys, from each key's first change on."""
        return changed_keys.feature_rows_of_changed(keys, rows, self.relation)


def find_affected_keys(session: Session, events: Events, changes: Changes, through: int) -> AffectedKeys | None:
    """The keys of events at or before `through` (microseconds) that were added, removed or changed; None if there are none.

    Rows that were removed and added again with the same values in the columns that the view reads do not count.
    `changes.relation` must not be None.
    """
    assert changes.relation is not None
    added = _events(session, events, "__fs_added", changes.relation, through)
    changed = all_rows(added)
    if changes.removed is not None:
        removed = _events(session, events, "__fs_removed", changes.removed, through)
        changed = changed_keys.event_difference(added, removed, session.schema(added))
    keys = session.create_table("__fs_affected_keys", changed_keys.changed_keys(events.keys, changed))
    first = single_row(session, changed_keys.first_change(keys))["first"]
    return None if first is None else AffectedKeys(keys, int(first))


def _events(session: Session, events: Events, name: str, rows: Relation, through: int) -> Handle:
    raw = session.add("__fs_changed_rows", rows)
    return session.create_table(name, events.rows(raw, times.FIRST, through))
