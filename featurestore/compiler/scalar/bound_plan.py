"""Read the plan that DuckDB binds a SELECT to, in the JSON form of `json_serialize_plan`: DuckDB itself says what it casts to what."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.compiler.scalar.nodes import BOOLEAN, Node, SqlType

_OPERATORS = {
    "OPERATOR_NOT": "not",
    "OPERATOR_IS_NULL": "is_null",
    "OPERATOR_IS_NOT_NULL": "is_not_null",
    "OPERATOR_COALESCE": "coalesce",
    "OPERATOR_TRY": "try",
    "COMPARE_IN": "in",
}
_CONJUNCTIONS = {"CONJUNCTION_AND": "and", "CONJUNCTION_OR": "or"}
_CASTS = ({"try_cast": False, "is_default_cast": False}, {"try_cast": True, "is_default_cast": False})
_DECIMAL_DATA = frozenset({"check_overflow", "return_type", "arguments"})
MAX_DEPTH = 80
"""Limit of nested expressions: evaluating them nests as many calls of Python."""


class UnknownPlan(Exception):
    """The plan has something that is not known here."""


def read_plan(document: str, columns: Sequence[str]) -> tuple[Node, ...]:
    """The expressions of a SELECT over a SELECT of these columns. Raises: UnknownPlan."""
    try:
        (plan,) = json.loads(document)["plans"]
        if plan["type"] != "LOGICAL_PROJECTION":
            raise UnknownPlan(plan["type"])
        (source,) = plan["children"]
        if source["type"] != "LOGICAL_PROJECTION" or [read["alias"] for read in source["expressions"]][: len(columns)] != list(columns):
            raise UnknownPlan("the columns of the source")
        nodes = tuple(_node(expression) for expression in plan["expressions"])
        if max(map(_depth, nodes)) > MAX_DEPTH:
            raise UnknownPlan("its depth")
        return nodes
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise UnknownPlan(str(error)) from error


def _node(expression: Mapping[str, Any]) -> Node:
    match expression["expression_class"]:
        case "BOUND_REF":
            return Node("column", _type(expression["return_type"]), value=expression["index"])
        case "BOUND_CONSTANT":
            sql_type = _type(expression["value"]["type"])
            return Node("constant", sql_type, value=_constant(expression["value"]))
        case "BOUND_CASE":
            checks = [_node(check[part]) for check in expression["case_checks"] for part in ("when_expr", "then_expr")]
            return Node("case", _type(expression["return_type"]), (*checks, _node(expression["else_expr"])))
        case "BOUND_CONJUNCTION":
            return Node(_CONJUNCTIONS[expression["type"]], BOOLEAN, _parts(expression))
        case "BOUND_OPERATOR":
            return Node(_OPERATORS[expression["type"]], _type(expression["return_type"]), _parts(expression))
        case "BOUND_FUNCTION":
            return Node(_function(expression), _type(expression["return_type"]), _parts(expression))
        case other:
            raise UnknownPlan(other)


def _depth(node: Node) -> int:
    return 1 + max(map(_depth, node.parts), default=0)


def _parts(expression: Mapping[str, Any]) -> tuple[Node, ...]:
    return tuple(_node(child) for child in expression["children"])


def _function(expression: Mapping[str, Any]) -> str:
    name: str = expression["qname"]["path"][-1]
    data = expression.get("function_data")
    if expression["type"] == "OPERATOR_CAST":
        if name != "__cast" or data not in _CASTS:
            raise UnknownPlan(f"cast {name} with {data}")
        return "try_cast" if data["try_cast"] else "cast"
    # Decimal arithmetic says again what the types say. Other functions with data of their own may depend on it.
    if data is not None and not _DECIMAL_DATA.issuperset(data):
        raise UnknownPlan(f"function {name} with {data}")
    return name


def _type(document: Mapping[str, Any]) -> SqlType:
    details = document.get("type_info")
    if document["id"] == "DECIMAL" and details is not None:
        return SqlType("DECIMAL", details["width"], details["scale"])
    if details is not None:
        raise UnknownPlan(f"type {document['id']} with details")
    return SqlType(document["id"])


def _constant(document: Mapping[str, Any]) -> Any:
    """A constant as it is computed with; see SqlType."""
    if document["is_null"]:
        return None
    value = document["value"]
    if not isinstance(value, dict):
        return value
    if set(value) == {"upper", "lower"}:
        return value["upper"] * 2**64 + value["lower"]
    if set(value) == {"months", "days", "micros"}:
        return value["months"], value["days"], value["micros"]
    raise UnknownPlan(f"constant {value}")
