"""Check user SQL against an allowlist: every node of its tree, and every argument of a node, must be on the list."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlglot import exp

from featurestore.compiler import functions
from featurestore.compiler.parsing import SqlProblem, quote_sql, write_sql
from featurestore.compiler.sql_types import MAX_ARRAY_VALUES, type_text
from featurestore.errors import near

_BINARY = (
    "Add And BitwiseAnd BitwiseLeftShift BitwiseOr BitwiseRightShift BitwiseXor EQ Escape GT GTE ILike IntDiv LT LTE Like Mod Mul NEQ "
    "NullSafeEQ NullSafeNEQ Or RegexpILike SimilarTo Sub Xor"
)
_ROW = {
    **dict.fromkeys(_BINARY.split(), "this expression"),
    **dict.fromkeys("BitwiseNot Neg Not Paren Boolean Var".split(), "this"),
    "Array": "expressions bracket_notation",
    **dict.fromkeys("ILike Like".split(), "this expression negate"),
    "AtTimeZone": "this zone",
    "Between": "this low high symmetric",
    "Bracket": "this expressions offset safe returns_list_for_maps",
    "Case": "this ifs default",
    "Cast": "this to",
    "Column": "this table db catalog",
    "DPipe": "this expression safe",
    "Div": "this expression typed safe",
    "Dot": "this expression",
    "Identifier": "this quoted",
    "If": "this true false",
    "In": "this expressions query unnest field",
    "Interval": "this unit",
    "Is": "this expression negate",
    "Literal": "this is_string",
    "Null": "",
    "Slice": "this expression",
    "TryCast": "this to safe",
    "Tuple": "expressions",
}
_QUERY = {
    **_ROW,
    **dict.fromkeys("All Any Exists From Having IgnoreNulls Qualify RespectNulls Where".split(), "this"),
    **dict.fromkeys("Cube GroupingSets Rollup".split(), "expressions"),
    **dict.fromkeys("Except Intersect Union".split(), "this expression distinct by_name with_ order limit offset"),
    "Alias": "this alias",
    "CTE": "this alias materialized",
    "Distinct": "expressions on",
    "Filter": "this expression",
    "Group": "expressions all cube rollup grouping_sets",
    "Join": "this on using side kind method",
    "Lateral": "this alias",
    "Limit": "expression",
    "Offset": "expression",
    "Order": "this expressions",
    "Ordered": "this desc nulls_first",
    "Select": "expressions from_ joins laterals where group having qualify windows distinct order limit offset with_",
    "Star": "except_ replace rename",
    "Subquery": "this alias with_ order limit offset",
    "Table": "this db catalog alias joins",
    "TableAlias": "this columns",
    "Unnest": "expressions alias offset",
    "Values": "expressions alias",
    "Window": "this partition_by order spec alias over",
    "WindowSpec": "kind start start_side end end_side exclude",
    "With": "expressions recursive",
    "WithinGroup": "this expression",
}
MAX_TEXT = 1_000_000
"""Limit of characters for the results of `repeat`, `lpad` and `rpad`."""
_CALLED = frozenset({"this", "expressions"})
_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_WORDS: Mapping[tuple[str, str], frozenset[str]] = {
    ("Join", "side"): frozenset({"LEFT", "RIGHT", "FULL"}),
    ("Join", "kind"): frozenset({"INNER", "OUTER", "CROSS", "SEMI", "ANTI"}),
    ("Join", "method"): frozenset({"ASOF", "NATURAL", "POSITIONAL"}),
    ("Trim", "position"): frozenset({"LEADING", "TRAILING", "BOTH"}),
    ("Window", "over"): frozenset({"OVER"}),
    ("WindowSpec", "kind"): frozenset({"ROWS", "RANGE", "GROUPS"}),
    ("WindowSpec", "start"): frozenset({"UNBOUNDED", "CURRENT ROW"}),
    ("WindowSpec", "end"): frozenset({"UNBOUNDED", "CURRENT ROW"}),
    ("WindowSpec", "start_side"): frozenset({"PRECEDING", "FOLLOWING"}),
    ("WindowSpec", "end_side"): frozenset({"PRECEDING", "FOLLOWING"}),
}
"""The allowed values of arguments that are plain text, not nodes."""
_VARS: Mapping[tuple[str, str], frozenset[str]] = {
    **dict.fromkeys(
        (
            ("DateAdd", "unit"),
            ("DateDiff", "unit"),
            ("DateSub", "unit"),
            ("DateTrunc", "unit"),
            ("Extract", "this"),
            ("Interval", "unit"),
            ("TimestampDiff", "unit"),
            ("TimestampTrunc", "unit"),
        ),
        functions.UNITS,
    ),
    ("Ordered", "this"): frozenset({"all"}),
    ("WindowSpec", "exclude"): frozenset({"ties", "group", "current row", "no others"}),
}
"""The arguments that may be a bare word, and the allowed words."""


@dataclass(frozen=True)
class Rules:
    """What a kind of SQL may use: `nodes` with their allowed arguments, sqlglot's `functions`, and `others` by DuckDB's names."""

    kind: str
    nodes: Mapping[str, frozenset[str]]
    functions: Collection[str]
    others: Collection[str]


ROW = Rules(
    "row SQL",
    {name: frozenset(arguments.split()) for name, arguments in _ROW.items()},
    functions.ROW_FUNCTIONS,
    functions.ANONYMOUS_ROW_FUNCTIONS,
)
QUERY = Rules(
    "a query",
    {name: frozenset(arguments.split()) for name, arguments in _QUERY.items()},
    functions.QUERY_FUNCTIONS,
    functions.ANONYMOUS_QUERY_FUNCTIONS,
)


def check_tree(tree: exp.Expr, sql: str, rules: Rules) -> None:
    """Check every node of a tree. Raises: SqlProblem that names the first one that is not allowed, and says what to do."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, exp.DataType):
            _check_type(node, sql)
            continue
        allowed = _arguments(node, rules)
        if allowed is None:
            raise SqlProblem(_refusal(node, sql, rules))
        if message := _misuse(node):
            raise SqlProblem(f"{_node_text(node, sql)} in {quote_sql(sql)} {message}")
        children: list[exp.Expr] = []
        for name, value in node.args.items():
            if value is None or value is False or value == []:
                continue
            if name not in allowed:
                raise SqlProblem(f"{_node_text(node, sql)} in {quote_sql(sql)}: {name.strip('_').upper()} is not allowed in {rules.kind}")
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, exp.Expr):
                    _check_word(node, name, part, sql)
                    children.append(part)
                elif not _known_value(node, name, part):
                    raise SqlProblem(f"{part!r} in {quote_sql(sql)} is not allowed as {name.strip('_')} of {type(node).__name__}")
        waiting.extend(reversed(children))


def _arguments(node: exp.Expr, rules: Rules) -> Collection[str] | None:
    """The arguments that a node may have; None if the node is not allowed."""
    name = type(node).__name__
    if name in rules.nodes:
        if isinstance(node, exp.Column) and isinstance(node.this, exp.Star) and "Star" not in rules.nodes:
            return None
        return rules.nodes[name]
    if not isinstance(node, exp.Func):
        return None
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        return _CALLED if node.name.lower() in rules.others else None
    # A function for which sqlglot has a class may be listed under its SQL name.
    listed = name in rules.functions or not {other.lower() for other in node.sql_names()}.isdisjoint(rules.others)
    return node.arg_types if listed else None


def _check_word(node: exp.Expr, name: str, part: exp.Expr, sql: str) -> None:
    """Check that a bare word is allowed in its place, and that nothing else is given as a unit."""
    words = _VARS.get((type(node).__name__, name))
    if isinstance(part, exp.Var):
        if words is None or not isinstance(part.this, str) or part.this.lower() not in words:
            hint = near(str(part.this).lower(), words or ()) if words else "; write it as a text, a number or a time"
            raise SqlProblem(f"{part.name!r} in {quote_sql(sql)} is not allowed in {_node_text(node, sql)}{hint}")
    elif words is not None and name != "exclude" and not isinstance(node, exp.Ordered) and not _is_unit(part):
        raise SqlProblem(f"{_node_text(part, sql)} in {quote_sql(sql)} is not a unit of time; write one as it is, such as 'day'")


def _check_type(node: exp.DataType, sql: str) -> None:
    if (text := type_text(node)) is None or text != node.sql(dialect="duckdb", identify=True):
        named = str(node.args.get("kind") or node.this.value if isinstance(node.this, exp.DType) else node.this)
        raise SqlProblem(
            f"type {quote_sql(named, 60)} in {quote_sql(sql)} is not one that SQL here may name; use BOOLEAN, INTEGER, BIGINT, DOUBLE,"
            " DECIMAL(p,s), VARCHAR, DATE, TIMESTAMP, TIMESTAMPTZ, UUID, BLOB, a list of those, or an array of up to"
            f" {MAX_ARRAY_VALUES} of them"
        )


def _known_value(node: exp.Expr, name: str, value: object) -> bool:
    """Whether an argument that is not a node has no user text, or only quoted or checked text."""
    if isinstance(value, bool):
        return True
    if isinstance(node, exp.Bracket) and name == "offset":
        return type(value) is int
    if not isinstance(value, str):
        return False
    if isinstance(node, exp.Literal):
        return node.is_string or _NUMBER.fullmatch(value) is not None
    if isinstance(node, exp.Identifier):
        return True
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc | exp.Var):
        # Checked elsewhere: against the lists of functions, and in _check_word.
        return name == "this"
    return value in _WORDS.get((type(node).__name__, name), ())


def _misuse(node: exp.Expr) -> str | None:
    """What is wrong with a node whose parts are all allowed; None if nothing is."""
    if isinstance(node, exp.Dot) and not isinstance(node.expression, exp.Identifier):
        return "calls a function on a value; write the function with the value as its argument"
    if isinstance(node, exp.Identifier) and not node.name:
        return "is an empty name"
    if isinstance(node, exp.Select) and not node.expressions:
        return "selects nothing; name a column, or *"
    if isinstance(node, exp.LastDay) and node.args.get("unit") is not None:
        return "takes a time alone: it is the last day of its month"
    if isinstance(node, exp.Repeat | exp.Pad):
        count = node.args["times"] if isinstance(node, exp.Repeat) else node.expression
        if isinstance(count, exp.Literal) and not 0 <= _number(count.name) <= MAX_TEXT:
            return f"makes a text of more than {MAX_TEXT} characters"
    if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc):
        name = node.name.lower()
        arguments = node.expressions
        if name == "list_aggregate" and not (len(arguments) >= 2 and _is_text(arguments[1], functions.LIST_AGGREGATES)):
            modifier = arguments[1].name if len(arguments) > 1 else ""
            return f"must name a deterministic aggregate, as text{near(modifier, functions.LIST_AGGREGATES)}"
        if name in functions.UNIT_FIRST and not (arguments and _is_unit(arguments[0])):
            return "must begin with a unit of time as a text, such as 'day'"
    return None


def _number(text: str) -> float:
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def _is_text(node: exp.Expr, among: Collection[str]) -> bool:
    return isinstance(node, exp.Literal) and bool(node.is_string) and node.name.lower() in among


def _is_unit(node: exp.Expr) -> bool:
    if isinstance(node, exp.Array):
        return all(_is_text(part, functions.UNITS) for part in node.expressions)
    return _is_text(node, functions.UNITS)


def _node_text(node: exp.Expr, sql: str) -> str:
    """The SQL of a node, truncated for a message."""
    try:
        text = write_sql(node, sql)
    except SqlProblem:
        text = type(node).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def _refusal(node: exp.Expr, sql: str, rules: Rules) -> str:
    name = node.name.lower() if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) else type(node).__name__
    text = _node_text(node, sql)
    if name.lower() in functions.NONDETERMINISTIC:
        hint = "use a column or a request field"
        return f"{text} in {quote_sql(sql)} gives another answer at every call, so training and serving would differ; {hint}"
    if isinstance(node, exp.Query):
        return f"{quote_sql(sql)} contains a subquery, which {rules.kind} may not; define it as a separate source with sql="
    if isinstance(node, exp.Alias) and rules.kind == ROW.kind:
        return f"{text} in {quote_sql(sql)} gives the value a name, which {rules.kind} may not; the definition names it"
    if isinstance(node, exp.AggFunc) and rules.kind == ROW.kind:
        return f"{text} in {quote_sql(sql)} aggregates rows, which row SQL may not; use agg.{name.lower()}(..., over=...) with every="
    if isinstance(node, exp.Func):
        spelled = name if isinstance(node, exp.Anonymous | exp.AnonymousAggFunc) else node.sql_name().lower()
        return f"function {spelled} in {quote_sql(sql)} is not on the allowlist{near(spelled, list(_names(rules)))}"
    return f"{text!r} ({name}) in {quote_sql(sql)} is not allowed in {rules.kind}"


def _names(rules: Rules) -> Iterator[str]:
    yield from rules.others
    for name in rules.functions:
        sql_name: Callable[[], str] | None = getattr(getattr(exp, name, None), "sql_name", None)
        if sql_name is not None:
            yield sql_name().lower()
