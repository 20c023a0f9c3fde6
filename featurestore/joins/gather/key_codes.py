"""Encode keys of any columns and types as integers, so that a key and a time can be packed into one code."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.values.int64 import Numbers, to_numpy

UNKNOWN = -1
"""The code of a key that is not in the log, and of NULL."""
PACKED = 1 << 31
"""Limit of the range of integers that are encoded by their distance from the minimum; larger combined key ranges are renumbered."""
MIN_INT64 = np.iinfo(np.int64).min


class Keys:
    """Encodes keys of any columns as 0, 1, 2, ..., with gaps; keys that are not in the log may be -1."""

    def __init__(self, columns: Sequence[pa.ChunkedArray]) -> None:
        self._columns = [_column_codes(column) for column in columns]
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
        """The code of each key; -1 for NULL and for unknown keys."""
        total = self._columns[0].of(columns[0])
        for column, numbered, met in zip(columns[1:], self._columns[1:], self._packed, strict=False):
            codes = numbered.of(column)
            total = np.where((total < 0) | (codes < 0), UNKNOWN, total * numbered.size + codes)
            total = total if met is None else _index_of(total, met)
        return total


def _index_of(values: Numbers, ascending: Numbers) -> Numbers:
    if not len(ascending):
        return np.full(len(values), UNKNOWN)
    index = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.where(ascending[index] == values, index, UNKNOWN)


def _column_codes(column: pa.ChunkedArray) -> "_RangeCodes | _DictionaryCodes":
    if pa.types.is_integer(column.type) or pa.types.is_date32(column.type) or pa.types.is_timestamp(column.type):
        ends = pc.min_max(_whole_numbers(column))
        least, most = ends["min"].as_py(), ends["max"].as_py()
        if least is None or most - least < PACKED:
            return _RangeCodes(least or 0, most or 0)
    return _DictionaryCodes(column)


class _RangeCodes:
    """Encodes integers of a small range by their distance from the minimum."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self.size = most - least + 1

    def of(self, column: pa.ChunkedArray) -> Numbers:
        distances = to_numpy(_whole_numbers(column), self._least - 1 if self._least > MIN_INT64 else self._least + self.size) - self._least
        # As unsigned integers, values below the minimum are large, so one comparison checks both ends.
        near = distances.view(np.uint64) < self.size
        return distances if near.all() else np.where(near, distances, UNKNOWN)


class _DictionaryCodes:
    """Encodes values of any type by their first position in the log."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._values = column.unique().drop_null()
        self.size = max(len(self._values), 1)

    def of(self, column: pa.ChunkedArray) -> Numbers:
        values = column if column.type == self._values.type else column.cast(self._values.type)
        return to_numpy(pc.index_in(values, value_set=self._values, skip_nulls=True).cast(pa.int64()), UNKNOWN)


def _whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    days = pa.types.is_date32(column.type)
    return (column.cast(pa.int32()) if days else column).cast(pa.int64())
