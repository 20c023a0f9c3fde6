"""A random sample of a table's keys, by which rows are missed that a server has evicted or that were deleted in it."""

import random
from collections.abc import Collection, Sequence
from typing import Self

import msgspec

SIZE = 256
"""With so many keys, a table that lost 1 % of its rows is recognized in 92 of 100 checks, and one that lost 5 % practically always."""


class KeySample:
    """Up to SIZE keys of a table; each row is equally likely to be in it, whenever it was added."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self.keys = list(keys)

    @classmethod
    def decode(cls, data: bytes | None) -> Self:
        """Read what `encode` wrote; an empty sample for None."""
        return cls() if data is None else cls(msgspec.msgpack.decode(data, type=list[bytes]))

    def encode(self) -> bytes:
        """The sample as bytes."""
        return msgspec.msgpack.encode(self.keys)

    def add(self, added: Sequence[bytes], rows: int | None) -> None:
        """Sample keys that were added to a table, which then has this many rows; None if unknown."""
        room = max(0, SIZE - len(self.keys))
        self.keys += added[:room]
        rest = added[room:]
        if not rest:
            return
        # Of `rest`, as many as its part of the table come into the sample, each in place of a random other one.
        expected = SIZE * len(rest) / max(rows or 0, len(self.keys) + len(rest))
        count = min(SIZE, len(rest), int(expected + random.random()))
        for place, key in zip(random.sample(range(SIZE), count), random.sample(rest, count), strict=True):
            self.keys[place] = key

    def remove(self, removed: Collection[bytes]) -> None:
        """Take keys out that were removed from the table."""
        if removed:
            gone = set(removed)
            self.keys = [key for key in self.keys if key not in gone]
