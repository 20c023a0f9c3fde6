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
"""By part, its fraction of the rows or the time at which it ends."""


@dataclass(frozen=True)
class Split:
    """`parts` has each part with its fraction, or with its end in microseconds: exclusive, None for no end.

    `by` names the columns to hash for fractions; empty for a split by time, and for fractions by the keys of a service not known yet.
    """

    by: tuple[str, ...]
    parts: tuple[tuple[str, float | int | None], ...]

    @property
    def hashed(self) -> bool:
        """Whether the parts are fractions of a hash, not ranges of time."""
        return isinstance(self.parts[0][1], float)

    def bind(self, columns: Sequence[str], keys: Sequence[str]) -> "Split":
        """The split of a spine with these columns: fractions use the entity's `keys` by default. Raises: RequestError naming the column."""
        if not self.hashed:
            return self
        by = self.by or tuple(keys)
        for column in by:
            if column not in columns:
                raise RequestError(f"by: the spine has no column {brief(column)}{near(column, columns)}", field="by")
        return Split(by, self.parts)

    def request(self) -> dict[str, Any]:
        """The split as a caller gives it, JSON-ready: by part, its fraction, or its end as text."""
        return {name: end if self.hashed or end is None else times.text(int(end)) for name, end in self.parts}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: `by` columns and `shares`, or `until` by part."""
        if self.by:
            return {"by": list(self.by), "shares": dict(self.parts)}
        return {"until": {name: None if end is None else times.text(int(end)) for name, end in self.parts}}


def parse_split(split: SplitRequest | None, by: str | Sequence[str] | None) -> Split | None:
    """Parse fractions by a hash of `by` (None: the entity's keys, once they are known), or end times. None: no split.

    Raises: RequestError naming the part or the column.
    """
    if split is None:
        if by is not None:
            raise RequestError("by= needs split=; give both or neither", field="by")
        return None
    if not isinstance(split, Mapping):
        raise RequestError(
            f"split={brief(split)} is not a dict; give the fraction of each part, such as {{'train': 0.8, 'test': 0.2}}", field="split"
        )
    for name in split:
        if not isinstance(name, str) or not name.isidentifier():
            raise RequestError(
                f"split: {brief(name)} is not a valid name for a part: use letters, digits and _, starting with a letter", field="split"
            )
    if not split:
        raise RequestError("split has no parts; give the fraction of each, such as {'train': 0.8, 'test': 0.2}", field="split")
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in split.values()):
        columns = None if by is None else check_column_names(by, "by")
        if columns == []:
            raise RequestError("by names no column; name those that must not be in two parts, such as the entity's key", field="by")
        return Split(tuple(columns or ()), _fractions(split))
    if by is not None:
        raise RequestError("by= works only with fractions; a split by time uses the spine's timestamp", field="by")
    return Split((), _ends(split))


def check_part(manifest: Mapping[str, Any], part: str) -> str:
    """The name of a part. Raises: RequestError if the training set has no split; NotFound with the parts it has."""
    split = manifest.get("split")
    if split is None:
        raise RequestError(f"training set {manifest['id']} was built without a split; build it with split={{'train': 0.8, 'test': 0.2}}")
    if part not in split["rows"]:
        raise NotFound("part", part, split["rows"], f"training set {manifest['id']}")
    return part


def cumulative_fractions(split: Split) -> list[float]:
    """The sum of the fractions up to and including each part."""
    fractions = [float(fraction or 0) for _, fraction in split.parts]
    return [math.fsum(fractions[: index + 1]) for index in range(len(fractions))]


def _fractions(split: SplitRequest) -> tuple[tuple[str, float], ...]:
    fractions = [(name, float(fraction)) for name, fraction in split.items() if isinstance(fraction, int | float)]
    for name, fraction in fractions:
        if not 0 < fraction <= 1:
            raise RequestError(f"split: the fraction of '{name}' is {fraction}; it must be above 0 and at most 1", field="split")
    total = math.fsum(fraction for _, fraction in fractions)
    if abs(total - 1) > 1e-9:
        raise RequestError(f"split: the fractions add up to {total:g}; they must add up to 1", field="split")
    return tuple(fractions)


def _ends(split: SplitRequest) -> tuple[tuple[str, int | None], ...]:
    ends: list[tuple[str, int | None]] = []
    for name, end in split.items():
        if end is not None and not isinstance(end, str | datetime):
            raise RequestError(f"split: '{name}' is {brief(end)}; give either the fraction or the end time of every part", field="split")
        at = None if end is None else times.parse(end, f"split '{name}'")
        before = ends[-1] if ends else None
        if before is not None and (before[1] is None or (at is not None and at <= before[1])):
            raise RequestError(f"split: '{name}' does not end after '{before[0]}'; put the parts in time order", field="split")
        ends.append((name, at))
    return tuple(ends)
