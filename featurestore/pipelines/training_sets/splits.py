"""Splits of a training set into parts, by a hash of keys or by time. The part of a row depends on the row alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from featurestore.errors import NotFound, RequestError, brief, near
from featurestore.values import times
from featurestore.values.arguments import check_column_names

PART = "__fs_split"
"""The column of a training set's table that holds each row's part."""

SplitRequest: TypeAlias = Mapping[str, float | str | datetime | None]
"""By part, its share of the rows or the time at which it ends."""


@dataclass(frozen=True)
class Split:
    """`parts` has each part with its share, or with its end in microseconds: exclusive, None for no end.

    `by` names the columns to hash for shares; empty for a split by time, and for shares by the keys of a service not known yet.
    """

    by: tuple[str, ...]
    parts: tuple[tuple[str, float | int | None], ...]

    @property
    def hashed(self) -> bool:
        """Whether the parts are shares of a hash, not ranges of time."""
        return isinstance(self.parts[0][1], float)

    def bind(self, columns: Sequence[str], keys: Sequence[str]) -> "Split":
        """The split of a spine with these columns: shares go by the entity's `keys` by default. Raises: RequestError naming the column."""
        if not self.hashed:
            return self
        by = self.by or tuple(keys)
        for column in by:
            if column not in columns:
                raise RequestError(f"by: the spine has no column {brief(column)}{near(column, columns)}", field="by")
        return Split(by, self.parts)

    def request(self) -> dict[str, Any]:
        """The split as a caller gives it, JSON-ready: by part, its share, or its end as text."""
        return {name: end if self.hashed or end is None else times.text(int(end)) for name, end in self.parts}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: `by` columns and `shares`, or `until` by part."""
        if self.by:
            return {"by": list(self.by), "shares": dict(self.parts)}
        return {"until": {name: None if end is None else times.text(int(end)) for name, end in self.parts}}


def parse_split(split: SplitRequest | None, by: str | Sequence[str] | None) -> Split | None:
    """Parse shares by a hash of `by` (None: the entity's keys, once they are known), or end times. None: no split.

    Raises: RequestError naming the part or the column.
    """
    if split is None:
        if by is not None:
            raise RequestError("by= needs split=; give both or neither", field="by")
        return None
    if not isinstance(split, Mapping):
        raise RequestError(
            f"split={brief(split)} is not a dict; give the share of each part, such as {{'train': 0.8, 'test': 0.2}}", field="split"
        )
    for name in split:
        if not isinstance(name, str) or not name.isidentifier():
            raise RequestError(
                f"split: {brief(name)} is not a valid name for a part: use letters, digits and _, starting with a letter", field="split"
            )
    if not split:
        raise RequestError("split has no parts; give the share of each, such as {'train': 0.8, 'test': 0.2}", field="split")
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in split.values()):
        columns = None if by is None else check_column_names(by, "by")
        if columns == []:
            raise RequestError("by names no column; name those that must not be in two parts, such as the entity's key", field="by")
        return Split(tuple(columns or ()), _shares(split))
    if by is not None:
        raise RequestError("by= works only with shares; a split by time uses the spine's timestamp", field="by")
    return Split((), _ends(split))


def check_part(manifest: Mapping[str, Any], part: str) -> str:
    """The name of a part. Raises: RequestError if the training set has no split; NotFound with the parts it has."""
    split = manifest.get("split")
    if split is None:
        raise RequestError(f"training set {manifest['id']} was built without a split; build it with split={{'train': 0.8, 'test': 0.2}}")
    if part not in split["rows"]:
        raise NotFound("part", part, split["rows"], f"training set {manifest['id']}")
    return part


def cumulative_shares(split: Split) -> list[float]:
    """The sum of the shares up to and including each part."""
    shares = [float(share or 0) for _, share in split.parts]
    return [math.fsum(shares[: index + 1]) for index in range(len(shares))]


def _shares(split: SplitRequest) -> tuple[tuple[str, float], ...]:
    shares = [(name, float(share)) for name, share in split.items() if isinstance(share, int | float)]
    for name, share in shares:
        if not 0 < share <= 1:
            raise RequestError(f"split: the share of '{name}' is {share}; it must be above 0 and at most 1", field="split")
    if abs(math.fsum(share for _, share in shares) - 1) > 1e-9:
        raise RequestError(f"split: the shares add up to {math.fsum(share for _, share in shares):g}; they must add up to 1", field="split")
    return tuple(shares)


def _ends(split: SplitRequest) -> tuple[tuple[str, int | None], ...]:
    ends: list[tuple[str, int | None]] = []
    for name, end in split.items():
        if end is not None and not isinstance(end, str | datetime):
            raise RequestError(f"split: '{name}' is {brief(end)}; give either the share or the end time of every part", field="split")
        at = None if end is None else times.parse(end, f"split '{name}'")
        before = ends[-1] if ends else None
        if before is not None and (before[1] is None or (at is not None and at <= before[1])):
            raise RequestError(f"split: '{name}' does not end after '{before[0]}'; put the parts in time order", field="split")
        ends.append((name, at))
    return tuple(ends)
