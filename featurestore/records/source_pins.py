"""A pin is the snapshot and the schema at which a source table was read, as one text.

The schema is the table's current one at that time: a schema change does not create a snapshot.
"""

from featurestore.lakehouse.table import Table


def pin(snapshot: int | str | None, schema: int | None) -> str:
    """The pin of a snapshot and a schema: `123@4`, or `@4` for a table without rows. Early releases wrote the snapshot alone."""
    return f"{snapshot or ''}{'' if schema is None else f'@{schema}'}"


def current_pin(table: Table) -> str:
    """The pin of the current state of a table."""
    return pin(table.snapshot_id, table.schema_id)


def snapshot_text(pin: str) -> str:
    """The snapshot id, empty for a table without rows."""
    return pin.partition("@")[0]


def snapshot_id(pin: str) -> int | None:
    """The snapshot; None for a table without rows."""
    text = snapshot_text(pin)
    return int(text) if text else None


def schema_id(pin: str) -> int | None:
    """The schema; None in a pin of an early release, which read each snapshot in the schema that it was written with."""
    text = pin.partition("@")[2]
    return int(text) if text else None
