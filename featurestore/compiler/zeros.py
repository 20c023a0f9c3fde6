"""The two zeros of floating-point numbers: equal in SQL, where -0.0 and 0.0 must be told apart it is by their signs."""

from featurestore.compiler.storage import base_type

FLOATING = frozenset({"FLOAT", "DOUBLE"})


def has_zeros(kind: str) -> bool:
    """Whether a DuckDB type is that of floating-point numbers, or of lists of them."""
    return base_type(kind) in FLOATING


def signs(value: str, kind: str) -> str:
    """Where a value of such a type is -0.0: true or false, in lists for each value."""
    if kind.endswith("[]"):
        return f"list_transform({value}, lambda v: {signs('v', kind[:-2])})"
    return f"({value} = 0 AND signbit({value}))"


def differ(left: str, right: str, kind: str) -> str:
    """The condition that two values of a DuckDB type are not the same, zeros of different signs included."""
    distinct = f"{left} IS DISTINCT FROM {right}"
    return f"{distinct} OR {signs(left, kind)} IS DISTINCT FROM {signs(right, kind)}" if has_zeros(kind) else distinct
