"""Check policies without reading data: their arguments, their SQL, and the types of what a mask makes."""

from collections.abc import Collection, Iterator, Mapping

from featurestore.compiler.expressions import SqlProblem, canonical, column_names, parse_row, resolve
from featurestore.compiler.typed_columns import UNTYPED
from featurestore.dsl.policy import Mask, RowFilter, TablePolicy
from featurestore.dsl.problems import FieldProblem, Owner
from featurestore.errors import brief, near
from featurestore.values.value_types import TYPES

_NUMBERS = frozenset({"BOOLEAN", "FLOAT", "DOUBLE", *(name for name in TYPES if name.endswith(("INT", "INTEGER")))})
_TIMES = frozenset(name for name in TYPES if name.startswith(("DATE", "TIMESTAMP")))


def policy_owner(policy: TablePolicy) -> Owner:
    """The owner of a policy's problems."""
    return Owner("policy", policy.name)


def policy_problems(policy: TablePolicy) -> Iterator[FieldProblem]:
    """A problem for each argument of a policy that is wrong whatever it is on."""
    owner = policy_owner(policy)
    if not isinstance(policy.table, str) or not policy.table:
        yield FieldProblem(owner, "table", f"is {brief(policy.table)}; name a table with its namespace, or a view")
    if not isinstance(policy.masks, Mapping) or not all(isinstance(name, str) for name in policy.masks):
        yield FieldProblem(owner, "masks", f'is {brief(policy.masks)}; give a dict, such as {{"email": Mask("NULL")}}')
        return
    for name, mask in policy.masks.items():
        yield from _rule_problems(owner, f"masks.{name}", mask, Mask, 'Mask("NULL", unless=["pii"])')
    if policy.rows is not None:
        yield from _rule_problems(owner, "rows", policy.rows, RowFilter, """RowFilter("country = 'DE'")""")
    if not all(isinstance(name, str) for name in policy.declassify):
        yield FieldProblem(owner, "declassify", f"is {brief(list(policy.declassify))}; give names of features")
    if not isinstance(policy.declassify_rows, bool):
        yield FieldProblem(owner, "declassify_rows", f"is {brief(policy.declassify_rows)}; give True or False")


def unknown_columns(sql: str, columns: Collection[str]) -> list[str]:
    """A message for each column that the SQL of a mask or filter names and that is none of these."""
    return [f"no column {brief(name)}{near(name, columns)}" for name in column_names(parse_row(sql)) if resolve(name, columns) is None]


def can_cast(sql_type: str, to: str) -> bool:
    """Whether values of a DuckDB type can have a value in another type."""
    if UNTYPED in (sql_type, to) or sql_type == to or "VARCHAR" in (sql_type, to):
        return True
    if sql_type.endswith("[]") and to.endswith("[]"):
        return can_cast(sql_type[:-2], to[:-2])
    kinds = [_NUMBERS.__contains__, _TIMES.__contains__]
    plain = ["DOUBLE" if name.startswith("DECIMAL(") else name for name in (sql_type, to)]
    return any(all(map(kind, plain)) for kind in kinds)


def _rule_problems(owner: Owner, field: str, rule: object, kind: type[Mask] | type[RowFilter], example: str) -> Iterator[FieldProblem]:
    if not isinstance(rule, Mask | RowFilter) or not isinstance(rule, kind):
        yield FieldProblem(owner, field, f"is {brief(rule)}; write {example}")
        return
    if not isinstance(rule.sql, str):
        yield FieldProblem(owner, f"{field}.sql", f"{brief(rule.sql)} is not text; give row SQL")
        return
    try:
        parse_row(canonical(rule.sql))
    except SqlProblem as error:
        yield FieldProblem(owner, f"{field}.sql", str(error))
