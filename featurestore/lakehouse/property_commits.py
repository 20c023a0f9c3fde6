"""Change table properties by what they are in the newest state."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from pyiceberg.table import Transaction

from featurestore.lakehouse import commits, tables
from featurestore.lakehouse.table import Table


@dataclass(frozen=True)
class PropertyChange:
    """The properties to set, and the names of those to remove."""

    set: Mapping[str, str] = field(default_factory=dict)
    drop: Collection[str] = ()


def change_properties(table: Table, change: Callable[[Mapping[str, str]], PropertyChange | None], *, undone: str) -> bool:
    """Commit what `change` returns for the properties that the handle shows, and again for the newest ones after each conflict.

    The handle then shows the state that the commit led to. Returns whether anything was committed: nothing is if `change` returns None,
    or what is there already. Another writer's change of other properties is no conflict.
    Raises: CommitConflict ending with `undone` after many conflicts; else as `commits.execute`.
    """

    def stage(fresh: Table) -> Transaction | None:
        changed = change(fresh.properties)
        return None if changed is None else tables.properties_transaction(fresh, changed.set, changed.drop)

    return commits.commit(table, stage, undone=undone)
