"""The state of a feature table: how far it is materialized, from which source snapshots, and whether it has corrections."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from featurestore.errors import NotReady
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.records import source_pins
from featurestore.values import times
from featurestore.values.humanize import format_duration

DEFINITION = "featurestore.definition"
"""The table property with the document of the view."""
FINGERPRINT = "featurestore.fingerprint"
FROM = "featurestore.materialized-from"
THROUGH = "featurestore.materialized-through"
SOURCES = "featurestore.source-snapshots"
SCHEMAS = "featurestore.source-schemas"
"""The table property with the schema in which each source table was read, and the field ids and types of the columns read."""
CORRECTIONS = "featurestore.corrections"
TYPES = "featurestore.source-types"
NEWEST = "featurestore.newest-event"
RAN = "featurestore.materialized-at"
MOST_AHEAD_US = 15 * 60 * 1_000_000
"""How far a run goes on from a stamp that is ahead of the time; more is a clock that is wrong."""
DROPPED_BEFORE = "featurestore.folded-before"
"""The table property with the time from which known="then" is exact: superseded versions were dropped before it."""


@dataclass(frozen=True)
class State:
    """What is materialized: every row with feature_timestamp in [since, through], computed from the pins in `sources`.

    Times are in microseconds. `through` is None if nothing is materialized, `since` None if the history is complete. `corrections`
    counts rows that share keys and feature_timestamp with an earlier row. `types` are the inferred types of CSV columns. `columns` maps
    each source table to the identities of the columns read (see `lakehouse.column_identity`). `newest` is the time of the source's
    newest event, `ran` the time of the last run that changed the state. Tables written by early releases lack the last three.
    """

    since: int | None = None
    through: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    corrections: int = 0
    types: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    newest: int | None = None
    ran: int | None = None

    @property
    def snapshots(self) -> dict[str, str]:
        """The snapshot id of each source table, or the state of each source file."""
        return {name: source_pins.snapshot_text(pin) if name in self.columns else pin for name, pin in self.sources.items()}

    def to_properties(self) -> dict[str, str]:
        """The entries for table properties and snapshot summaries."""
        return {
            FROM: times.text(self.since) or "",
            THROUGH: times.text(self.through) or "",
            SOURCES: json.dumps(self.snapshots, sort_keys=True),
            SCHEMAS: json.dumps(
                {name: {"schema": source_pins.schema_id(self.sources[name]), "columns": dict(read)} for name, read in self.columns.items()},
                sort_keys=True,
            ),
            CORRECTIONS: str(self.corrections),
            NEWEST: times.text(self.newest) or "",
            RAN: times.text(self.ran) or "",
            **({TYPES: json.dumps(dict(self.types), sort_keys=True)} if self.types else {}),
        }


def next_stamp(table: str, last: int | None, now: int) -> int:
    """The `created_timestamp` of a run's rows: the time, or just after `last`, the stamp of the run before, where that is later.

    So stamps never go back in a table, whatever clocks say. All in microseconds. Raises: NotReady if `last` lies further ahead than clocks
    that are set differ.
    """
    if last is None or last < now:
        return now
    if last - now > MOST_AHEAD_US:
        raise NotReady(
            f"the last run of {table} is stamped {times.text(last)}, {format_duration(last - now)} ahead of the time here,"
            f" {times.text(now)}; nothing was written. Set the clock that is wrong, and run again. If it was that of the last run, also"
            f" set the table's property {RAN} to the right time",
            table=table,
        )
    return last + 1


def state_of(properties: Mapping[str, str]) -> State:
    """The state in table properties or a snapshot's summary."""
    schemas = json.loads(properties.get(SCHEMAS) or "{}")
    snapshots = json.loads(properties.get(SOURCES) or "{}")
    return State(
        since=times.parse(properties[FROM], FROM) if properties.get(FROM) else None,
        through=times.parse(properties[THROUGH], THROUGH) if properties.get(THROUGH) else None,
        sources={name: source_pins.pin(pin, schemas[name]["schema"]) if name in schemas else pin for name, pin in snapshots.items()},
        corrections=int(properties.get(CORRECTIONS) or 0),
        types=json.loads(properties.get(TYPES) or "{}"),
        columns={name: schema["columns"] for name, schema in schemas.items()},
        newest=times.parse(properties[NEWEST], NEWEST) if properties.get(NEWEST) else None,
        ran=times.parse(properties[RAN], RAN) if properties.get(RAN) else None,
    )


def state_at(table: Table, snapshot_id: int | None) -> State:
    """The state at a snapshot. For the current one it is the table's, which runs without new rows may have advanced."""
    if snapshot_id == table.snapshot_id:
        return state_of(table.properties)
    return State() if snapshot_id is None else state_of(tables.summary(table, snapshot_id))
