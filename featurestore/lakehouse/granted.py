"""Tables whose rows may be read: every read of rows takes a `Granted`, which only guards make.

The guards are `records.operator` for the store itself and `access.rights` for a principal; `system` here is for the store's own tables.
"""

from collections.abc import Iterable
from dataclasses import InitVar, dataclass

from featurestore.errors import Forbidden
from featurestore.lakehouse.table import Table
from featurestore.settings import Settings


class _Seal:
    """What the constructors below ask for, so that other modules cannot call them by accident."""


_SEAL = _Seal()


@dataclass(frozen=True, slots=True)
class Permit:
    """That `reader` may read the rows of `tables` (None: of every table), since it may read the object `on`, such as `SERVICE churn`."""

    reader: str
    on: str
    tables: frozenset[str] | None
    seal: InitVar[_Seal]

    def __post_init__(self, seal: _Seal) -> None:
        _check_seal(self, seal)

    def covers(self, table: str) -> bool:
        """Whether it is for this table, named with its namespace."""
        return self.tables is None or table in self.tables


@dataclass(frozen=True, slots=True, eq=False)
class Granted:
    """A table of which a reader may read the rows, as `permit` says. `own`: it is one in which the store keeps its own records."""

    table: Table
    permit: Permit
    seal: InitVar[_Seal]
    own: bool = False

    def __post_init__(self, seal: _Seal) -> None:
        _check_seal(self, seal)

    @property
    def name(self) -> str:
        """The table's name with its namespace."""
        return self.table.name

    def renew(self, table: Table) -> "Granted":
        """The grant for another handle of the same table, which shows another state. Raises: ValueError for another table."""
        if table.uuid != self.table.uuid:
            raise ValueError(f"{table.name} is not the table {self.name} that was granted")
        return Granted(table, self.permit, _SEAL, self.own)


def issue_permit(reader: str, on: str, tables: Iterable[str] | None) -> Permit:
    """For guards, which have checked that the reader may read `on`: the permit for these tables, None for every table."""
    return Permit(reader, on, None if tables is None else frozenset(tables), _SEAL)


def issue(table: Table, permit: Permit) -> Granted:
    """For guards: the table for the holder of a permit. Raises: Forbidden if the permit is not for this table."""
    check_permit(permit, table.name)
    return Granted(table, permit, _SEAL)


def reissue(table: Table, permit: Permit) -> Granted:
    """For workers: the table that was granted to the holder of a permit, which came to them as a value. Raises: Forbidden."""
    check_permit(permit, table.name)
    return Granted(table, permit, _SEAL)


def check_permit(permit: Permit, table: str) -> None:
    """Check that a permit is for the table of this name. Raises: Forbidden."""
    if not permit.covers(table):
        raise Forbidden(
            f"{permit.reader} may not read {table} by a right on {permit.on}; ask for READ ON TABLE {table}",
            privilege="READ",
            on=f"TABLE {table}",
            principal=permit.reader,
        )


def system(table: Table, settings: Settings) -> Granted:
    """A table in which the store keeps its own records, such as the registry: for the code that keeps it, whoever calls.

    Raises: ValueError for a table outside of the store's own namespaces.
    """
    namespace = table.name.rpartition(".")[0]
    if namespace not in settings.record_namespaces:
        raise ValueError(f"{table.name} is not one of the store's own tables; a reader has to grant it")
    return Granted(table, issue_permit("the store", f"NAMESPACE {namespace}", (table.name,)), _SEAL, own=True)


def _check_seal(value: object, seal: _Seal) -> None:
    if seal is not _SEAL:
        raise TypeError(f"only a guard makes a {type(value).__name__}: ask the reader of the runtime for it")
