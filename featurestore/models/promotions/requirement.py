"""What a promotion requires of metrics, such as `auc > champion.auc + 0.005`: read as a syntax tree, never evaluated as Python."""

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from featurestore.errors import Conflict, RequestError, brief, near

LONGEST = 1000
MOST_NODES = 200
LARGEST = 1e300
OWN = "metrics"
"""The name for the version's own metrics, where their names are not identifiers: `metrics["val/auc"]`."""

Metrics = Mapping[str, Mapping[str, float]]
"""Metrics by alias; those of the version itself have the name OWN."""

_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_WHAT = "write comparisons of numbers, metrics and an alias's metrics, as in 'auc > champion.auc + 0.005 and loss < 0.3'"


@dataclass(frozen=True)
class Requirement:
    """A checked requirement; `metrics` are the pairs of alias (OWN for the version itself) and metric that it names."""

    text: str
    tree: ast.expr
    metrics: tuple[tuple[str, str], ...]

    @property
    def aliases(self) -> frozenset[str]:
        """The aliases whose metrics it names."""
        return frozenset(alias for alias, _ in self.metrics if alias != OWN)

    def values(self, metrics: Metrics) -> dict[str, float]:
        """The values of the metrics that it names. Raises: Conflict naming every one that is missing, with the nearest names."""
        missing = []
        values = {}
        for alias, name in self.metrics:
            known = metrics.get(alias)
            title = name if alias == OWN else f"{alias}.{name}"
            if known is None:
                missing.append(f"no version has the alias '{alias}', so {title} has no value; for the first one compare with a number")
            elif name not in known:
                missing.append(f"{'the version' if alias == OWN else alias} has no metric '{name}'{near(name, known)}")
            else:
                values[title] = known[name]
        if missing:
            raise Conflict("; ".join(missing), metrics=[title for title, _ in self.metrics])
        return values

    def holds(self, metrics: Metrics) -> bool:
        """Whether it is true of these metrics.

        Raises: Conflict for a missing metric, a comparison with NaN, wherever it stands (its `not` would be true), or a division by zero.
        """
        self.values(metrics)
        try:
            return bool(_value(self.tree, metrics))
        except (ZeroDivisionError, OverflowError) as error:
            raise Conflict(f"'{self.text}' cannot be computed: {error}") from error


def parse_requirement(text: str) -> Requirement:
    """Parse and check a requirement. Raises: RequestError saying what is not allowed."""
    if len(text) > LONGEST:
        raise RequestError(f"require has {len(text)} characters; the limit is {LONGEST}", field="require")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise RequestError(f"require={brief(text)} cannot be read; {_WHAT}", field="require") from error
    if sum(1 for _ in ast.walk(tree)) > MOST_NODES:
        raise RequestError(f"require={brief(text)} has too many parts; the limit is {MOST_NODES}", field="require")
    _check_condition(tree, text)
    return Requirement(text, tree, tuple(dict.fromkeys(_names(tree))))


def _check_condition(node: ast.expr, text: str) -> None:
    if isinstance(node, ast.BoolOp):
        for part in node.values:
            _check_condition(part, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        _check_condition(node.operand, text)
    elif isinstance(node, ast.Compare) and all(type(operator) in _COMPARISONS for operator in node.ops):
        for part in (node.left, *node.comparators):
            _check_number(part, text)
    else:
        raise RequestError(f"require={brief(text)}: {brief(ast.unparse(node))} is not a comparison; {_WHAT}", field="require")


def _check_number(node: ast.expr, text: str) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        _check_number(node.left, text)
        _check_number(node.right, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        _check_number(node.operand, text)
    elif _metric(node) is None and _number(node) is None:
        raise RequestError(f"require={brief(text)}: {brief(ast.unparse(node))} is neither a number nor a metric; {_WHAT}", field="require")


def _number(node: ast.expr) -> float | None:
    """The value of a number; None if the node is something else. Too large an integer is not a number either."""
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST:
        return None
    return float(value)


def _metric(node: ast.expr) -> tuple[str, str] | None:
    """The alias and the metric that a node names; None if it names none."""
    if isinstance(node, ast.Name):
        return OWN, node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return node.value.id, node.attr
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and isinstance(node.slice, ast.Constant):
        return (node.value.id, node.slice.value) if isinstance(node.slice.value, str) else None
    return None


def _names(node: ast.expr) -> Iterator[tuple[str, str]]:
    if (named := _metric(node)) is not None:
        yield named
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _names(child)


def _value(node: ast.expr, metrics: Metrics) -> float:
    if (named := _metric(node)) is not None:
        return float(metrics[named[0]][named[1]])
    if (number := _number(node)) is not None:
        return number
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_value(node.left, metrics), _value(node.right, metrics))
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, metrics)
        return (not value) if isinstance(node.op, ast.Not) else -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BoolOp):
        results = [bool(_value(part, metrics)) for part in node.values]
        return all(results) if isinstance(node.op, ast.And) else any(results)
    assert isinstance(node, ast.Compare)
    numbers = [_value(part, metrics) for part in (node.left, *node.comparators)]
    if any(map(math.isnan, numbers)):
        raise Conflict(f"'{ast.unparse(node)}' compares NaN, which is neither less, nor equal, nor greater")
    return all(_COMPARISONS[type(operator)](*pair) for operator, pair in zip(node.ops, pairwise(numbers), strict=True))
