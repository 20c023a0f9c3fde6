"""The snapshots that a table's current one came from, with the numbers and times by which readers ask for them."""

from dataclasses import dataclass

from featurestore.errors import NotFound, NotYet
from featurestore.lakehouse.table import Table
from featurestore.values import times


@dataclass(frozen=True)
class LoggedSnapshot:
    """A snapshot. `number` is its sequence number, which grows with each commit; `committed` is in milliseconds since the epoch."""

    id: int
    number: int
    committed: int


def snapshot_log(table: Table) -> list[LoggedSnapshot]:
    """The current snapshot and those before it, the newest first, as far as they are kept; empty if nothing was ever written.

    Raises: NotYet for a table of format version 1, whose snapshots have no numbers.
    """
    if table.iceberg.metadata.format_version < 2:
        raise NotYet(
            f"{table.name} has Iceberg's format version 1, whose snapshots have no numbers: upgrade the table to version 2",
            table=table.name,
        )
    log: list[LoggedSnapshot] = []
    snapshot = table.iceberg.current_snapshot()
    while snapshot is not None:
        log.append(LoggedSnapshot(snapshot.snapshot_id, snapshot.sequence_number or 0, snapshot.timestamp_ms))
        snapshot = None if snapshot.parent_snapshot_id is None else table.iceberg.snapshot_by_id(snapshot.parent_snapshot_id)
    return log


def logged_snapshot(table: Table, snapshot_id: int) -> LoggedSnapshot:
    """Any snapshot of the table, such as a tagged one. Raises: NotFound if it has expired."""
    snapshot = table.iceberg.snapshot_by_id(snapshot_id)
    if snapshot is None:
        raise NotFound("snapshot", str(snapshot_id), map(str, table.snapshot_ids), where=table.name)
    return LoggedSnapshot(snapshot.snapshot_id, snapshot.sequence_number or 0, snapshot.timestamp_ms)


def find_number(log: list[LoggedSnapshot], number: int, where: str) -> LoggedSnapshot:
    """The snapshot with this number. Raises: NotFound naming those that are kept."""
    for snapshot in log:
        if snapshot.number == number:
            return snapshot
    raise NotFound("version", str(number), [str(snapshot.number) for snapshot in log], where)


def find_time(log: list[LoggedSnapshot], at: int, where: str) -> LoggedSnapshot:
    """The snapshot that was current at a time, in microseconds since the epoch. Raises: NotFound for a time before the oldest one kept."""
    for snapshot in log:
        if snapshot.committed * 1000 <= at:
            return snapshot
    raise NotFound("version", f"as of {times.text(at)}", None, where)


def find_after(log: list[LoggedSnapshot], at: int, where: str) -> LoggedSnapshot:
    """The first snapshot at or after a time, in microseconds since the epoch. Raises: NotFound if all are before it."""
    later = [snapshot for snapshot in log if snapshot.committed * 1000 >= at]
    if not later:
        raise NotFound("version", f"from {times.text(at)} on", None, where)
    return later[-1]
