"""Commit requirements beyond those that pyiceberg's transactions add."""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableRequirement, TableUpdate, UpdatesAndRequirements, UpdateTableMetadata, ValidatableTableRequirement

from featurestore.lakehouse.table import Table


class AsLoaded(ValidatableTableRequirement):
    """Requires parts of the table to be unchanged that Iceberg's own requirements do not cover."""

    type: Literal["featurestore-as-loaded"] = "featurestore-as-loaded"
    properties: dict[str, str | None] = Field(default_factory=dict)
    free_refs: tuple[str, ...] = ()
    unreferenced: tuple[int, ...] = ()
    schemas: int | None = None

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        """Raise CommitFailedException if the table has changed."""
        if base_metadata is None:
            raise CommitFailedException("the table is gone")
        moved = [key for key, value in self.properties.items() if base_metadata.properties.get(key) != value]
        moved += [name for name in self.free_refs if name in base_metadata.refs]
        moved += [name for name, ref in base_metadata.refs.items() if ref.snapshot_id in self.unreferenced]
        if self.schemas is not None and self.schemas != len(base_metadata.schemas):
            moved.append("schemas")
        if moved:
            raise CommitFailedException(f"changed since the table was loaded: {', '.join(moved)}")


class StagedUpdates(UpdateTableMetadata["StagedUpdates"]):
    """Adds updates and requirements that pyiceberg has no method for to a transaction, by `commit()`.

    Requirements are checked against the transaction so far, before the updates; a transaction keeps only the first of each type.
    """

    def __init__(self, transaction: Transaction, updates: Iterable[TableUpdate], requirements: Iterable[TableRequirement]) -> None:
        super().__init__(transaction)
        self._staged = (tuple(updates), tuple(requirements))

    def _commit(self) -> UpdatesAndRequirements:
        return self._staged


def as_loaded(
    table: Table, *, properties: Iterable[str] = (), free_refs: Iterable[str] = (), unreferenced: Iterable[int] = (), schemas: bool = False
) -> tuple[TableRequirement, ...]:
    """A requirement that these parts are still as the handle shows them.

    Checked by every catalog that pyiceberg itself commits to; empty for a REST server, which only checks Iceberg's own requirements.
    """
    if not isinstance(table.iceberg.catalog, MetastoreCatalog):
        return ()
    expected = {key: table.properties.get(key) for key in properties}
    count = len(table.iceberg.metadata.schemas) if schemas else None
    requirement = AsLoaded(properties=expected, free_refs=tuple(free_refs), unreferenced=tuple(unreferenced), schemas=count)
    return (requirement,)  # type: ignore[return-value]


def add_requirements(transaction: Transaction, *requirements: TableRequirement) -> None:
    """Add requirements even if the transaction has others of the same type; only the catalog checks them."""
    transaction._requirements = (*transaction._requirements, *requirements)
