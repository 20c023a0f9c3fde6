"""The scope of a run: for each key that something changed for behind the watermark, from when on its rows are computed again."""

from featurestore.compiler.events import SOURCE, TIME, Events
from featurestore.compiler.expressions import quoted
from featurestore.compiler.zeros import has_zeros, zero_signs
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.lakehouse.scans import Changes
from featurestore.values import times

SCOPE = "__fs_scope"
SINCE = "__fs_since"
_CAME, _WENT = "__fs_came", "__fs_went"


def record(session: Session, view: FeatureView, events: Events, changes: Changes, through: int) -> int | None:
    """Make SCOPE of what changed in the source at or before `through`; returns the earliest event time in it, None for no change.

    Times are microseconds. A row that came and went equally often, in what the view reads of it, did not change.
    """
    session.set({"events_lower": times.FIRST, "events_upper": through})
    changed = f"SELECT * FROM {_CAME}"
    for name, relation in ((_CAME, changes.relation), (_WENT, changes.removed)):
        if relation is not None:
            session.add(SOURCE, relation)
            session.run(f"CREATE OR REPLACE TEMP TABLE {name} AS {events.sql}")
    if changes.removed is not None:
        signed = "".join(f", {zero_signs(quoted(name), kind)}" for name, kind in session.schema(changed).items() if has_zeros(kind))
        came, went = f"SELECT *{signed} FROM {_CAME}", f"SELECT *{signed} FROM {_WENT}"
        changed = f"({came} EXCEPT ALL {went}) UNION ALL ({went} EXCEPT ALL {came})"
    keys = ", ".join(map(quoted, view.entity.keys))
    session.run(f"CREATE OR REPLACE TEMP TABLE {SCOPE} AS SELECT {keys}, min(epoch_us({TIME})) AS {SINCE} FROM ({changed}) GROUP BY {keys}")
    first = session.batches(f"SELECT min({SINCE}) AS first FROM {SCOPE}").read_all().to_pylist()[0]["first"]
    return None if first is None else int(first)


def of_source(events: Events, rows: str) -> str:
    """A SELECT of the raw rows of a relation whose keys are in SCOPE."""
    same = " AND ".join(f"r.{raw} = s.{quoted(key)}" for raw, key in zip(events.raw_keys, events.keys, strict=True))
    return f"SELECT r.* FROM {rows} r SEMI JOIN {SCOPE} s ON {same}"


def of_rows(view: FeatureView, rows: str) -> str:
    """A SELECT of the feature rows of a relation that something changed for."""
    same = " AND ".join(f"r.{quoted(key)} = s.{quoted(key)}" for key in view.entity.keys)
    return f"SELECT r.* FROM {rows} r SEMI JOIN {SCOPE} s ON {same} AND epoch_us(r.feature_timestamp) >= s.{SINCE}"
