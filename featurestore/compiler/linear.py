"""How much work an expression is: one whose time grows faster than its input is computed where it can be ended."""

from collections.abc import Iterable

from sqlglot import exp

from featurestore.compiler import functions

_SEARCHES = (exp.Like, exp.ILike, exp.RegexpILike, exp.SimilarTo)
LONGEST = 1000
"""Characters of a constant: the engine reads it several times, and tells a zone that there is not from all that there are."""
_NESTED = (exp.DType.ARRAY, exp.DType.LIST, exp.DType.MAP, exp.DType.STRUCT)


def are_linear(trees: Iterable[exp.Expr]) -> bool:
    """Whether all parts of checked row expressions take time linear in their input, and make nothing longer than all of it together."""
    return all(_is_linear(node) for tree in trees for node in tree.walk())


def weight(trees: Iterable[exp.Expr]) -> int:
    """How many parts row expressions have, and characters in their constants: the work that linear ones are for a row or a character."""
    return sum(1 + (len(node.name) if isinstance(node, exp.Literal) else 0) for tree in trees for node in tree.walk())


def _is_linear(node: exp.Expr) -> bool:
    if isinstance(node, _SEARCHES):
        return False
    if isinstance(node, exp.Literal):
        return len(node.name) <= LONGEST
    if isinstance(node, exp.Trim):
        return node.expression is None
    if isinstance(node, exp.AtTimeZone):
        # A zone that there is not is compared with the names of all that there are, by their distance.
        return isinstance(node.args["zone"], exp.Literal)
    if isinstance(node, exp.Cast):
        # A text is read once for each list in a list, and what is in a map is looked for one after another.
        return node.to.this not in _NESTED
    if isinstance(node, exp.Array):
        # The text of a list quotes the texts in it: each level would double them.
        return node.find_ancestor(exp.Array) is None
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in functions.LINEAR_ANONYMOUS_FUNCTIONS
    # CASE, AND and OR are functions to sqlglot; all other nodes that the white list has are no functions.
    if not isinstance(node, exp.Func) or isinstance(node, exp.Case | exp.If | exp.Connector | exp.Unary):
        return True
    names = {name.lower() for name in node.sql_names()}
    return type(node).__name__ in functions.LINEAR_FUNCTIONS or not names.isdisjoint(functions.LINEAR_ANONYMOUS_FUNCTIONS)
