"""Keys of any columns and types as whole numbers, so that a key and a time together are one number to search by."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.values.int64 import Numbers, filled

UNKNOWN = -1
"""The number of a key that the log does not have, and of NULL."""
PACKED = 1 << 31
"""Numbers of values up to this many are told apart by their distance from the least; keys of several columns are numbered beyond it."""
LEAST = np.iinfo(np.int64).min


class Keys:
    """Numbers keys of any columns 0, 1, 2, ..., with gaps; those that the log does not have may be -1."""

    def __init__(self, columns: Sequence[pa.ChunkedArray]) -> None:
        self._columns = [_numbered(column) for column in columns]
        self._packed: list[Numbers | None] = []
        self.size = self._columns[0].size
        for index, column in enumerate(self._columns[1:], 1):
            self.size *= column.size
            if self.size < PACKED:
                self._packed.append(None)
                continue
            self._packed.append(None)
            met = np.unique(self.of(columns[: index + 1]))
            self._packed[-1] = met[met >= 0]
            self.size = len(met)

    def of(self, columns: Sequence[pa.ChunkedArray]) -> Numbers:
        """The number of each key; -1 for NULL, and for one that is not there."""
        total = self._columns[0].of(columns[0])
        for column, numbered, met in zip(columns[1:], self._columns[1:], self._packed, strict=False):
            own = numbered.of(column)
            total = np.where((total < 0) | (own < 0), UNKNOWN, total * numbered.size + own)
            total = total if met is None else _index_of(total, met)
        return total


def _index_of(values: Numbers, ascending: Numbers) -> Numbers:
    if not len(ascending):
        return np.full(len(values), UNKNOWN)
    index = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.where(ascending[index] == values, index, UNKNOWN)


def _numbered(column: pa.ChunkedArray) -> "_Near | _Met":
    if pa.types.is_integer(column.type) or pa.types.is_date32(column.type) or pa.types.is_timestamp(column.type):
        ends = pc.min_max(_whole_numbers(column))
        least, most = ends["min"].as_py(), ends["max"].as_py()
        if least is None or most - least < PACKED:
            return _Near(least or 0, most or 0)
    return _Met(column)


class _Near:
    """Whole numbers that lie near one another, by their distance from the least."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self.size = most - least + 1

    def of(self, column: pa.ChunkedArray) -> Numbers:
        distances = filled(_whole_numbers(column), self._least - 1 if self._least > LEAST else self._least + self.size) - self._least
        # Without a sign, what lies before the least is as far as what lies beyond the most.
        near = distances.view(np.uint64) < self.size
        return distances if near.all() else np.where(near, distances, UNKNOWN)


class _Met:
    """Values of any type, in the order in which the log has them."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._values = column.unique().drop_null()
        self.size = max(len(self._values), 1)

    def of(self, column: pa.ChunkedArray) -> Numbers:
        own = column if column.type == self._values.type else column.cast(self._values.type)
        return filled(pc.index_in(own, value_set=self._values, skip_nulls=True).cast(pa.int64()), UNKNOWN)


def _whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    days = pa.types.is_date32(column.type)
    return (column.cast(pa.int32()) if days else column).cast(pa.int64())
