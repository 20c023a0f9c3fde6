"""The cost of expressions: those whose time grows faster than their input are computed where they can be killed."""

from collections.abc import Iterable

from sqlglot import exp

from featurestore.compiler import functions

_SEARCHES = (exp.Like, exp.ILike, exp.RegexpILike, exp.SimilarTo)
MAX_CONSTANT = 1000
"""Limit of characters of a constant: DuckDB reads it several times, and compares an unknown time zone with all known ones."""
_NESTED = (exp.DType.ARRAY, exp.DType.LIST, exp.DType.MAP, exp.DType.STRUCT)


def are_linear(trees: Iterable[exp.Expr]) -> bool:
    """Whether all parts of checked row expressions take time linear in their input, with results no longer than the input."""
    return all(_is_linear(node) for tree in trees for node in tree.walk())


def expression_weight(trees: Iterable[exp.Expr]) -> int:
    """The number of nodes and characters of constants in row expressions: the cost of linear ones per row or character."""
    return sum(1 + (len(node.name) if isinstance(node, exp.Literal) else 0) for tree in trees for node in tree.walk())


def _is_linear(node: exp.Expr) -> bool:
    if isinstance(node, _SEARCHES):
        return False
    if isinstance(node, exp.Literal):
        return len(node.name) <= MAX_CONSTANT
    if isinstance(node, exp.Trim):
        return node.expression is None
    if isinstance(node, exp.AtTimeZone):
        # An unknown zone is compared with the names of all known ones, by edit distance.
        return isinstance(node.args["zone"], exp.Literal)
    if isinstance(node, exp.Cast):
        # A text is read once per nesting level of lists, and map entries are searched one after another.
        return node.to.this not in _NESTED
    if isinstance(node, exp.Array):
        # The text of a list quotes the texts in it, which doubles them at each nesting level.
        return node.find_ancestor(exp.Array) is None
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in functions.LINEAR_ANONYMOUS_FUNCTIONS
    # sqlglot treats CASE, AND and OR as functions; all other nodes on the allowlist are not functions.
    if not isinstance(node, exp.Func) or isinstance(node, exp.Case | exp.If | exp.Connector | exp.Unary):
        return True
    names = {name.lower() for name in node.sql_names()}
    return type(node).__name__ in functions.LINEAR_FUNCTIONS or not names.isdisjoint(functions.LINEAR_ANONYMOUS_FUNCTIONS)
