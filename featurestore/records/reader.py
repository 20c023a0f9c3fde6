"""Whoever a verb reads rows for: the guard that makes tables readable."""

from collections.abc import Iterable
from typing import Literal, Protocol

from featurestore.compiler.row_policy import RowPolicy
from featurestore.lakehouse.granted import Granted, Permit
from featurestore.lakehouse.table import Table

ReadableKind = Literal["SERVICE", "TABLE"]
"""The kinds of objects of which a verb reads rows that its caller names."""


class Reader(Protocol):
    """A reader of rows: the store itself (`records.operator`), or a principal with its rights (`access.rights`)."""

    def require_files(self) -> None:
        """Check that it may read files of this machine. Raises: Forbidden."""

    @property
    def recorded_name(self) -> str | None:
        """What is recorded as for whom rows were read; None for the store itself."""

    @property
    def sees_everything(self) -> bool:
        """Whether no policy is ever in force for it."""

    @property
    def is_under_policies(self) -> bool:
        """Whether any policy is in force for it. Raises: NotReady."""

    def policy_of_view(self, view: str) -> RowPolicy:
        """What is in force for it on the rows of a view, whatever the version. Raises: NotReady."""

    def policy_of_table(self, table: str) -> RowPolicy:
        """What is in force for it on the rows of a table; on a feature table, that of its view. Raises: NotReady."""

    def permit(self, kind: ReadableKind, name: str, through: Iterable[str] = ()) -> Permit:
        """Check that it may read the rows of an object; the permit is for a table of that name, and for the tables in `through`, which
        the verb reads for the object. Raises: Forbidden, whether or not the object exists.
        """

    def grant(self, table: Table, permit: Permit) -> Granted:
        """The table, for the holder of a permit from this reader. Raises: Forbidden if the permit is not for this table."""
