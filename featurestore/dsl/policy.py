"""Policies: masks of columns and filters of rows, for everybody who is in none of the groups that are exempt from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featurestore.dsl.tuples import as_tuple


@dataclass(frozen=True)
class Mask:
    """What others see in place of a column: row SQL over the columns of the same row, such as `'***' || right(email, 4)` or `NULL`.

    It is cast to the column's type, and is NULL where it fails. Members of a group in `unless` see the column itself.
    """

    sql: str
    unless: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "unless", as_tuple(self.unless))


@dataclass(frozen=True)
class RowFilter:
    """Which rows others see: those for which a condition over the columns of the row, before masks, is true.

    A row for which it is NULL or fails is hidden. Members of a group in `unless` see all rows.
    """

    sql: str
    unless: Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "unless", as_tuple(self.unless))


@dataclass(frozen=True)
class TablePolicy:
    """The policy of a table: `TablePolicy("shop.customers", masks={"email": Mask("NULL", unless=["pii"])})`.

    The name of a view, or of a table that `create_table` made, has no namespace: `TablePolicy("customer_profile", ...)`, which is the same
    as these arguments of its `FeatureView`. A policy takes the place of the one before; one without masks and filter lifts it.
    `declassify` are features that may show what masked columns are computed into, and `declassify_rows` that the view may show values of
    rows that a filter hides.
    """

    table: str
    masks: Mapping[str, Mask] = field(default_factory=dict)
    rows: RowFilter | None = None
    declassify: Sequence[str] = ()
    declassify_rows: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "declassify", as_tuple(self.declassify))

    @property
    def name(self) -> str:
        """What it is called in plans and problems: the object with its kind."""
        table = str(self.table)
        return f"{'TABLE' if '.' in table else 'VIEW'} {table}"
