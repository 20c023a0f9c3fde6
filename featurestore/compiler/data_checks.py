"""Data checks of a view: problems in their definitions, and a SELECT that counts the rows that fail them."""

from collections.abc import Iterator, Mapping

from featurestore.compiler.check_service import expanded_names
from featurestore.compiler.expressions import SqlProblem, column_names, parse_row, quote_name, resolve, struct_reads
from featurestore.compiler.query import Query, text_query
from featurestore.compiler.relations import Handle
from featurestore.compiler.zero_divisors import row_sql
from featurestore.dsl.check import SEVERITIES, Check, Condition, Freshness, NotNull, RowCount
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.durations import microseconds
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.view import FeatureView
from featurestore.errors import brief, near

CHECKED_ROWS = "__fs_checked_rows"
BROKEN_ROWS = "__fs_broken"
EXAMPLE = "__fs_example"


def check_problems(view: FeatureView) -> Iterator[FieldProblem]:
    """The problems of a view's checks; `inspect_checks` checks types."""
    owner = owner_of(view)
    names: list[str] = []
    for position, check in enumerate(view.checks):
        field = check_field(position)
        if not isinstance(check, Condition | NotNull | RowCount | Freshness):
            message = f"is {brief(check)}; write check.that(...), check.not_null(...), check.rows(...) or check.fresh(...)"
            yield FieldProblem(owner, field, message)
            continue
        if not isinstance(check.name, str) or not check.name.strip():
            yield FieldProblem(owner, field, f"{brief(check.name)} is not a name; write name='...' or leave it out")
        if check.name in names:
            message = f"another check of the view is called {brief(check.name)}; give one of them another name: name='...'"
            yield FieldProblem(owner, field, message)
        names.append(check.name)
        if check.severity not in SEVERITIES:
            yield FieldProblem(owner, field, f"no severity {brief(check.severity)}{near(str(check.severity), SEVERITIES)}")
        yield from problems_at(owner, field, _limit_faults(check, view))


def check_field(position: int) -> str:
    """The field name, in errors, of the check at this position of its view."""
    return f"checks[{position}]"


def row_columns(view: FeatureView) -> tuple[str, ...]:
    """The columns that a condition may read: keys, feature_timestamp and features."""
    return (*view.entity.keys, "feature_timestamp", *expanded_names(view))


def condition_sql(check: Condition, view: FeatureView) -> str:
    """DuckDB SQL of a condition over the rows of its view. Raises: SqlProblem."""
    return row_sql(check.sql, {name: quote_name(name) for name in row_columns(view)})


def count_violations(view: FeatureView, relation: Handle) -> Query:
    """A query of one row over a checked view's rows in `relation`.

    ROWS counts them. For each check of single rows, at position i, BROKEN_i counts those that break it, and EXAMPLE_i
    is the first of them in order of time: a struct of `at` (UTC microseconds) and `keys` (texts), NULL when none does.
    """
    keys = ", ".join(f"CAST({quote_name(key)} AS VARCHAR)" for key in view.entity.keys)
    row = f"{{'at': epoch_us(feature_timestamp), 'keys': [{keys}]}}"
    selected = [f"count(*) AS {CHECKED_ROWS}"]
    for position, broken in violation_conditions(view).items():
        selected.append(f"count(*) FILTER (WHERE {broken}) AS {BROKEN_ROWS}_{position}")
        selected.append(f"min({row}) FILTER (WHERE {broken}) AS {EXAMPLE}_{position}")
    columns = ",\n  ".join(selected)
    return text_query(f"SELECT {columns}\nFROM {quote_name(relation.name)}")


def violation_conditions(view: FeatureView) -> Mapping[int, str]:
    """For each check of single rows, by position: SQL that is true for the rows that fail it."""
    conditions: dict[int, str] = {}
    for position, check in enumerate(view.checks):
        if isinstance(check, Condition):
            conditions[position] = f"NOT ({condition_sql(check, view)})"
        elif isinstance(check, NotNull):
            conditions[position] = f"{quote_name(str(resolve(check.feature, expanded_names(view))))} IS NULL"
    return conditions


def _limit_faults(check: Check, view: FeatureView) -> Iterator[str]:
    if isinstance(check, RowCount):
        yield from _count_faults(check)
        return
    if isinstance(check, Freshness):
        try:
            if microseconds(check.within) == 0:
                yield f"within={brief(check.within)} must be longer than zero"
        except ValueError as error:
            yield f"within={error}"
        return
    if isinstance(check.at_least, bool) or not isinstance(check.at_least, int | float) or not 0 < check.at_least <= 1:
        yield f"at_least={brief(check.at_least)} is not a fraction of the rows: a number above 0 and at most 1, such as 0.95"
    known = expanded_names(view)
    if isinstance(check, NotNull):
        if not isinstance(check.feature, str) or resolve(check.feature, known) is None:
            yield f"no feature {brief(check.feature)} in {view.name}{near(str(check.feature), known)}"
        return
    if not isinstance(check.sql, str):
        yield f"is {brief(check.sql)}; write row SQL as text"
        return
    try:
        tree = parse_row(check.sql)
    except SqlProblem as error:
        yield str(error)
        return
    names = column_names(tree)
    for name in names:
        if resolve(name, row_columns(view)) is None:
            yield f"no key or feature {brief(name)}{near(name, row_columns(view))}"
    for read in struct_reads(tree):
        yield f"'{read}' reads a field of a struct, and neither a key nor a feature is one; write the name alone"


def _count_faults(check: RowCount) -> Iterator[str]:
    limits = {name: limit for name, limit in (("at_least", check.at_least), ("at_most", check.at_most)) if limit is not None}
    if not limits:
        yield "check.rows() has no limit; give at_least=, at_most= or both"
    for name, limit in limits.items():
        if type(limit) is not int or limit < 0:
            yield f"{name}={brief(limit)} is not a number of rows: a whole number, 0 or more"
            return
    if len(limits) == 2 and limits["at_least"] > limits["at_most"]:
        yield f"at_least={check.at_least} is more than at_most={check.at_most}, so no number of rows can pass"
