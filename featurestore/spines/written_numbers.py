"""Rows of a spine that came as JSON: its numbers are told exactly, and become doubles or decimals as their columns are."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import TypeMismatch
from featurestore.values.coercion import DOUBLES, fit, shown
from featurestore.values.json_encoding import NAMES
from featurestore.values.json_numbers import NotANumber, WrittenNumber


def settle(rows: Sequence[Any], plan: ServicePlan, timestamp: str) -> list[Any]:
    """The rows with numbers of the types that their columns have: those of keys and request fields, doubles in others.

    Raises: TypeMismatch naming the row and column of a NaN where only doubles have one, and of a number beyond all doubles.
    """
    kinds = {column: kind for use in plan.uses for (_, column), kind in zip(use.keys, use.key_types, strict=True)} | dict(plan.request)
    kinds[timestamp] = "TIMESTAMP WITH TIME ZONE"
    named = {name for name, kind in kinds.items() if kind in DOUBLES}
    odd = {
        name
        for row in rows
        if isinstance(row, Mapping)
        for name, value in row.items()
        if type(value) is NotANumber or type(value) is WrittenNumber or (name in named and type(value) is str)
    }
    if not odd:
        return list(rows)
    return [
        {name: _settled(value, kinds.get(name, "DOUBLE"), f"rows[{index}].{name}") if name in odd else value for name, value in row.items()}
        if isinstance(row, Mapping)
        else row
        for index, row in enumerate(rows)
    ]


def _settled(value: Any, kind: str, what: str) -> Any:
    if type(value) is NotANumber and kind not in DOUBLES:
        raise TypeMismatch(f"{what}: {value!r} is no {kind}; leave a missing value out, or send null", field=what, expected=kind)
    if type(value) is str and kind in DOUBLES:
        return NAMES.get(value, value)
    if kind.startswith("DECIMAL(") and isinstance(value, int | float) and not isinstance(value, bool):
        return fit(value, kind, what)
    if type(value) is not WrittenNumber:
        return value
    if kind not in DOUBLES:
        return fit(value, kind, what)
    double = float(value)
    if double in (float("inf"), float("-inf")):
        raise TypeMismatch(f"{what}: {shown(value)} is beyond all doubles", field=what, expected=kind)
    return double
