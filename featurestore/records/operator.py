"""The store itself as a reader: whoever has its files and its settings has its data."""

from collections.abc import Iterable

from featurestore.compiler.row_policy import OPEN, RowPolicy
from featurestore.lakehouse import granted
from featurestore.lakehouse.granted import Granted, Permit
from featurestore.lakehouse.table import Table
from featurestore.records.reader import ReadableKind

NAME = "the store"


class Operator:
    """The reader that may read everything."""

    recorded_name: str | None = None
    """Nobody is recorded as whom rows are read for."""
    sees_everything = True
    """No policy is ever in force for it."""
    is_under_policies = False
    """As `sees_everything`."""

    def policy_of_view(self, view: str) -> RowPolicy:
        """Nothing is hidden."""
        return OPEN

    def policy_of_table(self, table: str) -> RowPolicy:
        """Nothing is hidden."""
        return OPEN

    def require_files(self) -> None:
        """Refuse nothing: files of this machine may be read."""

    def permit(self, kind: ReadableKind, name: str, through: Iterable[str] = ()) -> Permit:
        """A permit for every table."""
        return granted.issue_permit(NAME, f"{kind} {name}", None)

    def grant(self, table: Table, permit: Permit | None = None) -> Granted:
        """The table; without a permit, for a pipeline that reads as the store does. Raises: Forbidden for a permit of another table."""
        return granted.issue(table, permit or _EVERY_TABLE)


_EVERY_TABLE = granted.issue_permit(NAME, "CATALOG", None)
