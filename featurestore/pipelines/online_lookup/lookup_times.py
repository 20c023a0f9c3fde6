"""Feature timestamps of stored rows, as the JSON of an answer."""

from collections.abc import Sequence
from functools import lru_cache
from struct import Struct

import numpy as np
import orjson

from featurestore.online.rows import TIME_BIAS, decode_time
from featurestore.values import times

MANY_TIMES = 8
"""From this number of times, numpy and orjson format them faster than Python."""
_TIME = Struct(">Q")
TIME_BYTES = _TIME.size
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
_TEXT_BYTES = len('"2026-01-01T00:00:00.000001Z"')


def encode_time(microseconds: int) -> bytes:
    """A time in microseconds since 1970 UTC as in rows: such bytes sort like times. Times before all others are one."""
    return _TIME.pack(max(microseconds + TIME_BIAS, 0))


def time_texts(encoded: Sequence[bytes], views: int) -> list[bytes]:
    """By view, the times of all entities as a JSON array. `encoded` has the times of an entity in all views, one after the other."""
    if len(encoded) * views < MANY_TIMES:
        return [_array(encoded, view) for view in range(views)]
    numbers = np.frombuffer(b"".join(encoded), ">u8").reshape(len(encoded), views).T
    moments = (numbers ^ np.uint64(TIME_BIAS)).astype(np.int64, order="C").view("M8[us]")
    try:
        content = orjson.dumps(moments, option=_OPTIONS)
    except TypeError:  # At the end of the year 9999.
        return [_array(encoded, view) for view in range(views)]
    return [b"[%b]" % _with_microseconds(texts, len(encoded)) for texts in content[2:-2].split(b"],[")]


def times_of_view(encoded: Sequence[bytes], view: int, has_row: Sequence[bool]) -> bytes:
    """The times of all entities in one view as a JSON array, with null for those without a row. `encoded` as in `time_texts`."""
    start, end = view * TIME_BYTES, (view + 1) * TIME_BYTES
    return b"[%b]" % b",".join([_text(row[start:end]) if has else b"null" for row, has in zip(encoded, has_row, strict=True)])


def any_older(encoded: Sequence[bytes], oldest: Sequence[bytes]) -> bool:
    """Whether a time is before the oldest valid one of its view, which is empty if there is none. `encoded` as in `time_texts`."""
    for view, first in enumerate(oldest):
        if first and min([row[view * TIME_BYTES : (view + 1) * TIME_BYTES] for row in encoded]) < first:
            return True
    return False


def _array(encoded: Sequence[bytes], view: int) -> bytes:
    return b"[%b]" % b",".join([_text(row[view * TIME_BYTES : (view + 1) * TIME_BYTES]) for row in encoded])


def _with_microseconds(texts: bytes, count: int) -> bytes:
    """Add microseconds to the times where orjson omits them because they are zero."""
    if len(texts) == count * (_TEXT_BYTES + 1) - 1:
        return texts
    whole = _TEXT_BYTES - len(".000001")
    return b",".join(text[:-2] + b'.000000Z"' if len(text) == whole else text for text in texts.split(b","))


@lru_cache(maxsize=16_384)
def _text(encoded: bytes) -> bytes:
    return orjson.dumps(times.text(decode_time(encoded)))
