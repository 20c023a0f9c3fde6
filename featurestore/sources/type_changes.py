"""Compare the types of computed columns with those of a feature table, which may store values only without loss."""

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.values.value_types import decimal_digits, integer_limit

_EXACT = {("INTEGER", "BIGINT"), ("INTEGER", "DOUBLE"), ("FLOAT", "DOUBLE")}


@dataclass(frozen=True)
class TypeChange:
    """A column whose computed type does not fit its type in the feature table; both are DuckDB types."""

    column: str
    stored: str
    found: str

    def within(self, table: str) -> str:
        """The change as text, for messages about a feature table."""
        return f"column '{self.column}' is {self.stored} in {table}, but the source now gives {self.found}"


def type_changes(stored: Mapping[str, str], current: Mapping[str, str]) -> list[TypeChange]:
    """The columns whose computed type does not fit the stored one; both map names to types of feature tables."""
    return [TypeChange(name, stored[name], new) for name, new in current.items() if name in stored and not fits(new, stored[name])]


def fits(current: str, stored: str) -> bool:
    """Whether every value of type `current` is also a value of type `stored`."""
    if current == stored or (current, stored) in _EXACT:
        return True
    if current.endswith("[]") and stored.endswith("[]"):
        return fits(current[:-2], stored[:-2])
    stored_digits, found_digits = decimal_digits(stored), decimal_digits(current)
    if stored_digits is None:
        return False
    precision, scale = stored_digits
    if current in ("INTEGER", "BIGINT"):
        return precision - scale >= len(str(integer_limit(current)))
    return found_digits is not None and precision - scale >= found_digits[0] - found_digits[1] and scale >= found_digits[1]
