"""The values of encoded rows, of which few are read or replaced: their JSON is cut at commas, and what lies between is not parsed."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import orjson

Pieces = Sequence[Sequence[bytes]]
"""The values of rows as columns of pieces of JSON: commas join the pieces of a row."""
_FEW_BYTES = 4096
"""Up to here, Python counts bytes as fast as numpy."""


class RowCutter:
    """Cuts the values of rows beside some of them."""

    def __init__(self, width: int, places: Collection[int]) -> None:
        """`width` is the number of values of a row; `places` are those of the values that are read or replaced, at least one."""
        first, last = min(places), max(places)
        self._width = width
        self._from_left = last < width - first
        self._cuts = last + 1 if self._from_left else width - first
        self._first = 0 if self._from_left else max(first - 1, 0)

    def cut_one(self, value: bytes) -> list[bytes] | None:
        """The pieces of a row of which no value has a comma, what was not cut as one; None for another, which `cut` parses or refuses.

        The piece of the value at a place is at `piece_of(place)`.
        """
        if value.count(b",") != self._width - 1:
            return None
        return value.split(b",", self._cuts) if self._from_left else value.rsplit(b",", self._cuts)

    def piece_of(self, place: int) -> int:
        """Where `cut_one` has the value at a place that was given."""
        return place - self._first

    def cut(self, values: Sequence[bytes]) -> "CutRows | ParsedRows | None":
        """The rows with these values as JSON; None if one has more or fewer values: all are counted together, which finds a damaged row.

        Raises: orjson.JSONDecodeError for invalid bytes.
        """
        if _count_commas(values) == (self._width - 1) * len(values):
            # No text and no list has a comma in it.
            cuts = self._cuts
            pieces = [value.split(b",", cuts) for value in values] if self._from_left else [value.rsplit(b",", cuts) for value in values]
            try:
                return CutRows(list(zip(*pieces, strict=True)), self._first)
            except ValueError:
                # One has as many commas less as another has more.
                pass
        rows: list[list[Any]] = orjson.loads(b"[[%b]]" % b"],[".join(values))
        return ParsedRows(rows) if list(map(len, rows)) == [self._width] * len(values) else None


class CutRows:
    """Rows whose values have no commas, in pieces. What was not cut is one piece."""

    def __init__(self, pieces: list[Sequence[bytes]], first: int) -> None:
        """`first`: the place of the first value in the first column of `pieces`."""
        self._pieces, self._first = pieces, first

    def read(self, places: Sequence[int]) -> tuple[list[list[Any]], bool]:
        """The columns of JSON values at these places, and whether some may be text. Raises: orjson.JSONDecodeError for invalid bytes."""
        if not places:
            return [], False
        content = b"],[".join([b",".join(self._pieces[place - self._first]) for place in places])
        columns: list[list[Any]] = orjson.loads(b"[[%b]]" % content)
        if list(map(len, columns)) != [len(self._pieces[0])] * len(places):
            raise orjson.JSONDecodeError("a piece is not one value", "", 0)
        return columns, b'"' in content

    def put(self, place: int, column: Sequence[bytes]) -> None:
        """Replace the values at a place by other JSON."""
        self._pieces[place - self._first] = column

    def pieces(self) -> Pieces:
        """The rows as they are now."""
        return self._pieces


class ParsedRows:
    """Rows with commas in their values, parsed."""

    def __init__(self, rows: list[list[Any]]) -> None:
        self._rows = rows

    def read(self, places: Sequence[int]) -> tuple[list[list[Any]], bool]:
        """As `CutRows.read`."""
        return [[row[place] for row in self._rows] for place in places], True

    def put(self, place: int, column: Sequence[bytes]) -> None:
        """As `CutRows.put`."""
        for row, content in zip(self._rows, column, strict=True):
            row[place] = orjson.Fragment(content)

    def pieces(self) -> Pieces:
        """As `CutRows.pieces`."""
        values = orjson.dumps(self._rows)[2:-2].split(b"],[")
        # A text or a list may have the same between its own values.
        return [values if len(values) == len(self._rows) else [orjson.dumps(row)[1:-1] for row in self._rows]]


def encode_each(values: Sequence[Any], encode: Callable[[Any], bytes]) -> list[bytes]:
    """The JSON of each value, at least one."""
    encoded = encode(values)[1:-1].split(b",")
    return encoded if len(encoded) == len(values) else list(map(encode, values))


def _count_commas(values: Sequence[bytes]) -> int:
    content = b"".join(values)
    return content.count(b",") if len(content) < _FEW_BYTES else int(np.count_nonzero(np.frombuffer(content, np.uint8) == ord(",")))
