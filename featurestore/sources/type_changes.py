"""What a source gives now, held against the types of a feature table: a value that keeps every digit may be stored."""

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.values.value_types import decimal_digits, integer_limit

_EXACT = {("INTEGER", "BIGINT"), ("INTEGER", "DOUBLE"), ("FLOAT", "DOUBLE")}


@dataclass(frozen=True)
class TypeChange:
    """A column of a feature table that what is computed now does not fit; DuckDB types."""

    column: str
    stored: str
    found: str

    def within(self, table: str) -> str:
        """For a message about a feature table."""
        return f"column '{self.column}' is {self.stored} in {table}, but the source now gives {self.found}"


def type_changes(stored: Mapping[str, str], found: Mapping[str, str]) -> list[TypeChange]:
    """The columns whose new type does not fit into the stored one; both map names to types of feature tables."""
    return [TypeChange(name, stored[name], kind) for name, kind in found.items() if name in stored and not fits(kind, stored[name])]


def fits(found: str, stored: str) -> bool:
    """Whether every value of one type of feature tables is a value of another."""
    if found == stored or (found, stored) in _EXACT:
        return True
    if found.endswith("[]") and stored.endswith("[]"):
        return fits(found[:-2], stored[:-2])
    stored_digits, found_digits = decimal_digits(stored), decimal_digits(found)
    if stored_digits is None:
        return False
    precision, scale = stored_digits
    if found in ("INTEGER", "BIGINT"):
        return precision - scale >= len(str(integer_limit(found)))
    return found_digits is not None and precision - scale >= found_digits[0] - found_digits[1] and scale >= found_digits[1]
