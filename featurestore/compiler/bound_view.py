"""A view whose row SQL is parsed and bound to the raw columns of its source: once, for all that a verb does with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featurestore.compiler.expressions import SqlProblem, column_names, parse_row, quote_name, resolve
from featurestore.compiler.zero_divisors import guarded_sql, row_sql
from featurestore.dsl.agg import Aggregation
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.view import FeatureView
from featurestore.errors import brief, near


@dataclass(frozen=True)
class RowSql:
    """Row SQL of the `field` of a definition: its text as written, the names that it reads, and its SQL over the columns of a relation.

    `names` is None if the text is not valid; `sql` is None then, too, or if a name is unknown.
    """

    field: str
    text: str
    names: tuple[str, ...] | None
    sql: str | None


@dataclass(frozen=True)
class BoundView:
    """A view and the raw columns of its source.

    `added` are the source's `columns=`, `where` is its condition, and `inputs` are the distinct row SQL that features read, each with
    the first field that has it. `scope` has every name that row SQL may use, with its SQL over the raw columns, and `reads` the raw
    columns behind each; both lack added columns that read an unknown name.
    """

    view: FeatureView
    columns: tuple[str, ...]
    added: tuple[RowSql, ...]
    where: RowSql | None
    inputs: tuple[RowSql, ...]
    scope: Mapping[str, str]
    reads: Mapping[str, frozenset[str]]

    @property
    def expressions(self) -> tuple[RowSql, ...]:
        """All row SQL over the source."""
        return (*self.added, *([self.where] if self.where else []), *self.inputs)

    def require_names(self) -> None:
        """Raises: SqlProblem naming the first unknown column; `field_problems` finds them all."""
        for row in self.expressions:
            if row.sql is None:
                row_sql(row.text, self.scope)


def bind_view(view: FeatureView, columns: Sequence[str]) -> BoundView:
    """Bind a view, whose source is checked, to the raw columns of the source."""
    scope = {column: quote_name(column) for column in columns}
    reads = {column: frozenset({column}) for column in columns}
    added: list[RowSql] = []
    for name, text in view.source.columns.items():
        row = bind_row(f"columns.{name}", text, scope)
        added.append(row)
        if row.sql is not None:
            reads[name] = frozenset(raw for read in row.names or () for raw in reads[str(resolve(read, scope))])
            scope[name] = f"({row.sql})"
    where = bind_row("where", view.source.where, scope) if view.source.where else None
    inputs = tuple(bind_row(field, text, scope) for text, field in _inputs(view).items())
    return BoundView(view, tuple(columns), tuple(added), where, inputs, scope, reads)


def bind_row(field: str, text: str, scope: Mapping[str, str]) -> RowSql:
    """Bind row SQL to the names in `scope`, each with its SQL."""
    try:
        tree = parse_row(text)
    except SqlProblem:
        return RowSql(field, text, None, None)
    names = column_names(tree)
    return RowSql(field, text, names, guarded_sql(tree, scope) if all(resolve(name, scope) for name in names) else None)


def _inputs(view: FeatureView) -> dict[str, str]:
    """The distinct row SQL that features read, each with the first field of the definition that has it."""
    fields: dict[str, str] = {}
    for name, feature in view.declared.items():
        if isinstance(feature, Aggregation):
            for sql in (feature.column, feature.where):
                if isinstance(sql, str):
                    fields.setdefault(sql, f"features.{name}")
        elif isinstance(feature, str):
            fields.setdefault(feature, f"features.{name}")
    return fields


def field_problems(bound: BoundView) -> list[FieldProblem]:
    """A problem for every name in a view that is unknown in its checked source. Invalid SQL is reported by the check of definitions."""
    view, source = bound.view, bound.view.source
    owner = owner_of(source)
    problems: list[FieldProblem] = []
    known = dict.fromkeys(bound.columns, "")
    for name, row in zip(source.columns, bound.added, strict=True):
        problems.extend(problems_at(owner, row.field, _unknown_columns(row, known)))
        known[name] = ""
    for role, column in (("timestamp", source.timestamp), ("created", source.created)):
        if column and resolve(column, known) is None:
            problems.append(FieldProblem(owner, role, f"no column {brief(column)}{near(column, known)}"))
    if bound.where:
        problems.extend(problems_at(owner, "where", _unknown_columns(bound.where, known)))
    for key in view.entity.keys:
        if resolve(key, bound.columns) is None:
            hint = "; a key must be a raw column of the source" if key in known else near(key, bound.columns)
            message = f"no column {brief(key)} in source {source.name}{hint}"
            problems.append(FieldProblem(owner_of(view.entity), "keys", message))
    for row in bound.inputs:
        problems.extend(problems_at(owner_of(view), row.field, _unknown_columns(row, known)))
    return problems


def _unknown_columns(row: RowSql, known: Mapping[str, str]) -> list[str]:
    return [f"no column {brief(name)}{near(name, known)}" for name in row.names or () if resolve(name, known) is None]
