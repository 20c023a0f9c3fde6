"""A pin is what a source table was read at, as one text: its snapshot, and the schema that says what its columns' names meant.

The schema is the table's own of that moment, as for every reader of Iceberg: it changes without a new snapshot.
"""

from featurestore.lakehouse import tables
from featurestore.lakehouse.tables import Table


def pin(snapshot: int | str | None, schema: int | None) -> str:
    """Such as `123@4`; the text of a table without rows has no snapshot: `@4`. Earlier releases noted the snapshot alone."""
    return f"{snapshot or ''}{'' if schema is None else f'@{schema}'}"


def current_pin(table: Table) -> str:
    """What a table holds now."""
    return pin(tables.current_snapshot_id(table), table.metadata.current_schema_id)


def snapshot_text(pin: str) -> str:
    """The snapshot id, empty for a table without rows."""
    return pin.partition("@")[0]


def snapshot_id(pin: str) -> int | None:
    """The snapshot; None for a table without rows."""
    text = snapshot_text(pin)
    return int(text) if text else None


def schema_id(pin: str) -> int | None:
    """The schema; None in a pin of an earlier release, which read each snapshot in the schema that it was written with."""
    text = pin.partition("@")[2]
    return int(text) if text else None
