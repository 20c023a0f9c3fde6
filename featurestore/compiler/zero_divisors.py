"""Whole division and remainder by zero, which fail in DuckDB and with them all rows: in user SQL by row they are NULL."""

from collections.abc import Mapping

from sqlglot import exp

from featurestore.compiler.expressions import parse_row, render


def forgiving(tree: exp.Expr) -> exp.Expr:
    """A copy of the expression in which one zero divisor ends no batch of rows.

    `x // 0` is NULL, and so is `x % 0` of whole and decimal numbers, where DuckDB would fail; of doubles it is NaN, as ever.
    """
    whole = exp.Paren(this=tree.copy())
    # From the leaves up: what is replaced is not looked into again.
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
    """DuckDB SQL of a row expression of a source, view or check, which one zero divisor does not fail. Raises: SqlProblem as `render`."""
    tree = parse_row(sql)
    return render(forgiving(tree) if tree.find(exp.IntDiv, exp.Mod) else tree, columns)
