"""Whether an expression takes time that grows no faster than its input: others are computed where they can be ended."""

from collections.abc import Iterable

from sqlglot import exp

from featurestore.compiler import functions

_SEARCHES = (exp.Like, exp.ILike, exp.RegexpILike, exp.SimilarTo)


def are_linear(trees: Iterable[exp.Expr]) -> bool:
    """Whether all parts of checked row expressions take time linear in their input, and make nothing longer than all of it together."""
    return all(_is_linear(node) for tree in trees for node in tree.walk())


def _is_linear(node: exp.Expr) -> bool:
    if isinstance(node, _SEARCHES):
        return False
    if isinstance(node, exp.Trim):
        return node.expression is None
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in functions.LINEAR_ANONYMOUS_FUNCTIONS
    # CASE, casts, AND and OR are functions to sqlglot; all other nodes that the white list has are no functions.
    if not isinstance(node, exp.Func) or isinstance(node, exp.Case | exp.Cast | exp.If | exp.Connector | exp.Array | exp.Unary):
        return True
    names = {name.lower() for name in node.sql_names()}
    return type(node).__name__ in functions.LINEAR_FUNCTIONS or not names.isdisjoint(functions.LINEAR_ANONYMOUS_FUNCTIONS)
