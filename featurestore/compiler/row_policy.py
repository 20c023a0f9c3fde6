"""What one principal may see of the rows of a view or a table: masks and a filter, compiled over the columns of each row."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from featurestore.compiler.expressions import canonical, column_names, parse_row, quote_name, render, resolve
from featurestore.compiler.query import Query, from_sql, text_query
from featurestore.compiler.relations import Handle

VISIBLE = "__fs_visible"
"""The column that says whether a row may be seen."""


@dataclass(frozen=True)
class RowPolicy:
    """The masks in force, by column, and the row filter in force, or None, as row SQL. All principals under the same rules have equal
    policies, and policies with equal digests give the same rows.
    """

    masks: tuple[tuple[str, str], ...] = ()
    rows: str | None = None

    @classmethod
    def of(cls, masks: Mapping[str, str], rows: str | None) -> "RowPolicy":
        """The policy of checked SQL. Raises: SqlProblem."""
        return cls(tuple(sorted((name, canonical(sql)) for name, sql in masks.items())), None if rows is None else canonical(rows))

    @property
    def is_open(self) -> bool:
        """Whether everything may be seen."""
        return not self.masks and self.rows is None

    @cached_property
    def digest(self) -> str | None:
        """16 hexadecimal digits over what is in force; None if nothing is."""
        return None if self.is_open else _digest([list(map(list, self.masks)), self.rows])

    @property
    def ruled(self) -> frozenset[str]:
        """The columns that are masked, and those that the filter reads, in lower case."""
        read = () if self.rows is None else column_names(parse_row(self.rows))
        return frozenset(name.lower() for name in (*dict(self.masks), *read))

    def bind(self, columns: Mapping[str, str]) -> "BoundPolicy":
        """The policy for rows with these columns and DuckDB types."""
        return BoundPolicy(self, tuple(columns.items()))

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, with the SQL: only for who may see what it hides."""
        return {"masks": dict(self.masks), "rows": self.rows}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "RowPolicy":
        """The policy of its JSON form. Raises: SqlProblem."""
        return cls.of(document["masks"], document["rows"])


OPEN = RowPolicy()
"""Nothing is hidden."""


def policies_digest(policies: Mapping[str, RowPolicy]) -> str | None:
    """16 hexadecimal digits over the policies of several objects, by their names; None if nothing is in force on any."""
    in_force = {name: policy.digest for name, policy in sorted(policies.items()) if policy.digest is not None}
    return _digest(in_force) if in_force else None


@dataclass(frozen=True)
class BoundPolicy:
    """A policy for rows with these columns, each with its DuckDB type.

    It hides what it cannot decide: a filter that reads a column that the rows lack hides them all, and such a mask is NULL. SQL that fails
    on a row is NULL there, so that an error cannot tell what the row has.
    """

    policy: RowPolicy
    columns: tuple[tuple[str, str], ...]

    @cached_property
    def masked(self) -> frozenset[str]:
        """The columns that are masked."""
        names = [name for name, _ in self.columns]
        return frozenset(name for mask, _ in self.policy.masks if (name := resolve(mask, names)) is not None)

    @property
    def filters(self) -> bool:
        """Whether rows may be hidden."""
        return self.policy.rows is not None

    def reads(self, names: Iterable[str]) -> tuple[str, ...]:
        """The columns of the raw row from which the columns `names` are made, these first."""
        wanted = list(names)
        trees = [sql for mask, sql in self.policy.masks if resolve(mask, wanted) is not None]
        known = dict(self.columns)
        read = [
            column
            for sql in [*([] if self.policy.rows is None else [self.policy.rows]), *trees]
            for name in column_names(parse_row(sql))
            if (column := resolve(name, known)) is not None
        ]
        return tuple(dict.fromkeys([*wanted, *read]))

    def visible(self, scope: Mapping[str, str]) -> str:
        """SQL that is true for rows that may be seen, and else false. `scope` has the SQL of each column of the raw row."""
        return "true" if self.policy.rows is None else f"coalesce({_tried(self.policy.rows, scope, 'false')}, false)"

    def values(self, names: Iterable[str], scope: Mapping[str, str]) -> dict[str, str]:
        """SQL of each column of a row that may be seen: what its mask makes of it, in its own type, or the column itself."""
        masks, types = dict(self.policy.masks), dict(self.columns)
        by_column = {column: sql for mask, sql in masks.items() if (column := resolve(mask, types)) is not None}
        return {
            name: f"TRY_CAST({_tried(by_column[name], scope, 'NULL')} AS {types[name]})" if name in by_column else scope[name]
            for name in names
        }

    def quoted(self) -> dict[str, str]:
        """The scope of rows whose columns have their own names and types."""
        return {name: quote_name(name) for name, _ in self.columns}

    def visible_rows(self, rows: Query | Handle, stored: Sequence[tuple[str, str]] | None = None) -> Query:
        """All columns of the rows that may be seen, masked. `stored` pairs the names of columns in the policy with those that they have in
        `rows`; None: they are the same.
        """
        pairs = [(name, name) for name, _ in self.columns] if stored is None else stored
        scope = {name: quote_name(column) for name, column in pairs}
        values = self.values(self.masked, scope)
        selected = ", ".join(f"{values.get(name, quote_name(column))} AS {quote_name(column)}" for name, column in pairs)
        return text_query(f"SELECT {selected} FROM {from_sql(rows)} WHERE {self.visible(scope)}")


def _tried(sql: str, scope: Mapping[str, str], otherwise: str) -> str:
    """The SQL over the scope, NULL where it fails; `otherwise` if it reads what the scope lacks."""
    tree = parse_row(sql)
    if any(resolve(name, scope) is None for name in column_names(tree)):
        return otherwise
    return f"TRY({render(tree, scope)})"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
