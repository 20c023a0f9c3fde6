"""A feature table's state: how far it is materialized, from what, and whether it holds corrections."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from featurestore.lakehouse import tables
from featurestore.lakehouse.tables import Table
from featurestore.records import source_pins
from featurestore.values import times

FROM = "featurestore.materialized-from"
THROUGH = "featurestore.materialized-through"
SOURCES = "featurestore.source-snapshots"
SCHEMAS = "featurestore.source-schemas"
"""The property that says in which schema each source table was read, and which columns: their field ids and types."""
CORRECTIONS = "featurestore.corrections"
TYPES = "featurestore.source-types"
NEWEST = "featurestore.newest-event"
RAN = "featurestore.materialized-at"
FOLDED = "featurestore.folded-before"
"""The table property that says from when on known="then" is exact."""


@dataclass(frozen=True)
class State:
    """What is materialized: every row with feature_timestamp in [since, through] that the sources gave at `sources`.

    Microseconds; None when nothing was materialized yet, and `since` None when the history is whole. `corrections`
    counts rows that share keys and feature_timestamp with an earlier one. `types` are those inferred for columns of CSV files.
    `columns` tells, for each source table, the identities of the columns that were read (see `lakehouse.columns`); it lacks
    tables that were last read before they were noted. `newest` is the time of the source's newest event, and `ran` that of the last
    run that changed any of this; None where a table was last materialized before these were noted.
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
        """As table properties and snapshot summary."""
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


def state_of(properties: Mapping[str, str]) -> State:
    """The state that table properties or a snapshot's summary tell."""
    read = json.loads(properties.get(SCHEMAS) or "{}")
    seen = json.loads(properties.get(SOURCES) or "{}")
    return State(
        since=times.parse(properties[FROM], FROM) if properties.get(FROM) else None,
        through=times.parse(properties[THROUGH], THROUGH) if properties.get(THROUGH) else None,
        sources={name: source_pins.pin(pin, read[name]["schema"]) if name in read else pin for name, pin in seen.items()},
        corrections=int(properties.get(CORRECTIONS) or 0),
        types=json.loads(properties.get(TYPES) or "{}"),
        columns={name: found["columns"] for name, found in read.items()},
        newest=times.parse(properties[NEWEST], NEWEST) if properties.get(NEWEST) else None,
        ran=times.parse(properties[RAN], RAN) if properties.get(RAN) else None,
    )


def state_at(table: Table, snapshot_id: int | None) -> State:
    """The state as of a snapshot: the table's own for the current one, which later runs without new rows may have moved on."""
    if snapshot_id == tables.current_snapshot_id(table):
        return state_of(table.properties)
    return State() if snapshot_id is None else state_of(tables.summary(table, snapshot_id))
