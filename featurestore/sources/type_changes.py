"""What a source gives now, held against the types of a feature table: a value that keeps every digit may be stored."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")
_INTEGER_DIGITS = {"INTEGER": 10, "BIGINT": 19}
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
    room = _DECIMAL.fullmatch(stored)
    if room is None:
        return False
    whole, scale = int(room[1]) - int(room[2]), int(room[2])
    if found in _INTEGER_DIGITS:
        return whole >= _INTEGER_DIGITS[found]
    digits = _DECIMAL.fullmatch(found)
    return digits is not None and whole >= int(digits[1]) - int(digits[2]) and scale >= int(digits[2])
