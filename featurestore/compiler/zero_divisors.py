"""Make integer division and remainder by zero NULL in row SQL: in DuckDB they fail, and with them the whole query."""

from collections.abc import Mapping

from sqlglot import exp

from featurestore.compiler.expressions import parse_row, render


def guard_zero_divisors(tree: exp.Expr) -> exp.Expr:
    """A copy of the expression that does not fail on zero divisors.

    `x // 0` is NULL, and so is `x % 0` for integers and decimals, for which DuckDB would fail; for doubles it is NaN, as in DuckDB.
    """
    whole = exp.Paren(this=tree.copy())
    # From the leaves up, so that replaced nodes are not visited again.
    for node in list(whole.find_all(exp.IntDiv, exp.Mod, bfs=True))[::-1]:
        divisor = exp.Paren(this=node.expression.copy())
        if isinstance(node, exp.IntDiv):
            node.set("expression", exp.Nullif(this=divisor, expression=exp.Literal.number(0)))
            continue
        is_zero = exp.EQ(this=divisor, expression=exp.Literal.number(0))
        attempt = exp.Anonymous(this="TRY", expressions=[node.copy()])
        node.replace(exp.Paren(this=exp.Case(ifs=[exp.If(this=is_zero, true=attempt)], default=node.copy())))
    return whole


def row_sql(sql: str, columns: Mapping[str, str]) -> str:
    """DuckDB SQL of a row expression that does not fail on zero divisors. Raises: SqlProblem as `render`."""
    return guarded_sql(parse_row(sql), columns)


def guarded_sql(tree: exp.Expr, columns: Mapping[str, str]) -> str:
    """As `row_sql`, of a parsed expression."""
    return render(guard_zero_divisors(tree) if tree.find(exp.IntDiv, exp.Mod) else tree, columns)
