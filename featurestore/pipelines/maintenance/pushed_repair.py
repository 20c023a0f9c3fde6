"""Repair what a table of pushed events says of its log: after its files, or the log itself, were lost."""

from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.lakehouse.damage import Damage
from featurestore.lakehouse.table import Table
from featurestore.push.event_log import PUSH_LOG, SINCE, THROUGH
from featurestore.records.runtime import Runtime
from featurestore.values import times


def rolled_back(runtime: Runtime, table: Table, damage: Damage) -> dict[str, str]:
    """The properties of a table that is rolled back: events that the log still has are copied again. Raises: NotReady."""
    if PUSH_LOG not in table.properties:
        return {}
    through = 0
    if damage.back_to is not None:
        sequence = table.snapshot_ids
        for snapshot in sequence[: sequence.index(damage.back_to) + 1]:
            through = max(through, int(tables.summary(table, snapshot).get(THROUGH, "0")))
    last = runtime.event_log.last(table.uuid)
    return {THROUGH: str(_first_kept(runtime, table.uuid, min(through, last)))}


def log_problem(runtime: Runtime, table: Table) -> str | None:
    """What is wrong with the log of a table of pushed events; None for another table, and if nothing is. Raises: NotReady."""
    if PUSH_LOG not in table.properties:
        return None
    log = runtime.event_log
    if table.properties[PUSH_LOG] != log.identity():
        return "its push log is another one than that which the setting push_log names: what that had and did not copy is lost"
    if log.last(table.uuid) < int(table.properties.get(THROUGH, "0")):
        return "its push log ends before what was copied from it: it was emptied, or is an older copy, and what it had more is lost"
    return None


def take_log(runtime: Runtime, table: Table) -> None:
    """Go on with the log that the settings name, from its first event that the table does not have. Raises: CommitConflict; NotReady."""
    log = runtime.event_log
    same = table.properties[PUSH_LOG] == log.identity()
    through = log.last(table.uuid) if same else _first_kept(runtime, table.uuid, 0)
    # It does not know the ids of before.
    tables.set_properties(table, {PUSH_LOG: log.identity(), THROUGH: str(through), SINCE: str(times.now())})


def _first_kept(runtime: Runtime, stream: str, after: int) -> int:
    """The offset after which the log has all events, at or after this one."""
    try:
        runtime.event_log.read(stream, after, 1)
    except FeatureStoreError as error:
        if "trimmed" in error.details:
            return int(error.details["trimmed"])
        raise
    return after
