"""Uses: the columns of stored tables behind a value, each with the role that it has."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from featurestore.compiler.expressions import resolve

VALUE, FILTER, JOIN, GROUP, ORDER, WINDOW = "value", "filter", "join", "group", "order", "window"
KEY, TIMESTAMP, CREATED, ROWS = "key", "timestamp", "created", "rows"
"""The roles. A column with the role VALUE is part of what is computed; with any other it decides only which rows are, and when."""
ALL_COLUMNS = "*"
"""The column of a use of columns that are not known, such as those of `SELECT *` over a table that no longer exists."""
NO_COLUMN = ""
"""The column of a use of the table's rows, as in `count(*)`."""
REQUEST = "(request)"
"""The table of a use of a request field, which no table has."""


@dataclass(frozen=True, order=True)
class Use:
    """A use of one column of a table (`namespace.name`, or the path of files) in one role."""

    table: str
    column: str
    role: str = VALUE


Uses = frozenset[Use]
NONE: Uses = frozenset()


@dataclass(frozen=True)
class TracedRelation:
    """A relation with the uses behind each of its columns, in order; a column without a certain name has the name None.

    `rows` decide which rows there are. `unlisted` gives the uses behind a name that is not listed; None: there are no other columns.
    """

    columns: tuple[tuple[str | None, Uses], ...]
    rows: Uses = NONE
    unlisted: Callable[[str], Uses] | None = field(default=None, compare=False)

    def column(self, name: str) -> Uses | None:
        """The uses behind a listed column, ignoring case; None if there is none."""
        listed = dict(reversed([(known, uses) for known, uses in self.columns if known is not None]))
        known = resolve(name, listed)
        if known is None:
            known = next((other for other in listed if other.lower() == name.lower()), None)
        return None if known is None else listed[known]

    def with_column_names(self, names: Iterable[str]) -> "TracedRelation":
        """The relation with its first columns renamed."""
        new = list(names)
        renamed = zip(new, (uses for _, uses in self.columns), strict=False)
        return replace(self, columns=(*renamed, *self.columns[len(new) :]))

    def everything(self) -> Uses:
        """The uses behind all columns, without those of the rows."""
        listed = union(uses for _, uses in self.columns)
        return listed if self.unlisted is None else listed | self.unlisted(ALL_COLUMNS)


def stored_relation(table: str, columns: Iterable[str] | None) -> TracedRelation:
    """A stored table with these columns; None: they are not known."""
    rows = frozenset({Use(table, NO_COLUMN, ROWS)})
    listed = tuple((name, frozenset({Use(table, name)})) for name in columns or ())
    return TracedRelation(listed, rows, None if columns is not None else lambda name: frozenset({Use(table, name)}))


def count_uses(rows: Uses) -> Uses:
    """The uses behind a count of rows."""
    return frozenset(replace(use, role=VALUE) for use in rows if use.role == ROWS)


def in_role(uses: Iterable[Use], role: str) -> Uses:
    """The same uses in another role; uses of rows keep theirs."""
    return frozenset(use if use.role == ROWS else replace(use, role=role) for use in uses)


def union(parts: Iterable[Uses]) -> Uses:
    """All uses of the parts."""
    return NONE.union(*parts)
