"""A split says which part of a training set a row is in: by a hash of keys, or by time. It depends on nothing but the row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from featurestore.errors import NotFound, RequestError, near
from featurestore.pipelines import times
from featurestore.pipelines.parts import Parts
from featurestore.pipelines.spine import Spine

PART = "__fs_split"
"""The column of a training set's table that holds each row's part."""

Given: TypeAlias = Mapping[str, float | str | datetime | None]
"""A share by part, or the end of each part in time."""


@dataclass(frozen=True)
class Split:
    """`by` is what is hashed; empty for a split by time. `parts` has each part with its share, or with its end: in microseconds,
    not included, None for no end.
    """

    by: tuple[str, ...]
    parts: tuple[tuple[str, float | int | None], ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: `by` columns and `shares`, or `until` by part."""
        if self.by:
            return {"by": list(self.by), "shares": dict(self.parts)}
        return {"until": {name: None if end is None else times.text(int(end)) for name, end in self.parts}}


def parsed(split: Given | None, by: str | Sequence[str] | None, columns: Sequence[str], keys: Sequence[str]) -> Split | None:
    """What was asked for: shares by a hash of `by` (the entity's `keys` when left out), or ends in time. None: no split.

    Raises: RequestError naming the part or the column.
    """
    if split is None:
        if by is not None:
            raise RequestError("by= says what a split goes by, and there is no split=; give both or neither", field="by")
        return None
    for name in split:
        if not isinstance(name, str) or not name.isidentifier():
            raise RequestError(
                f"split: {name!r} is not a name for a part: letters, digits and _ only, beginning with a letter", field="split"
            )
    if not split:
        raise RequestError("split names no part; give a share of each, such as {'train': 0.8, 'test': 0.2}", field="split")
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in split.values()):
        named = [by] if isinstance(by, str) else list(keys if by is None else by)
        for column in named:
            if column not in columns:
                raise RequestError(f"by: the spine has no column '{column}'{near(column, columns)}", field="by")
        if not named:
            raise RequestError("by names no column; name what the parts must not share, such as the entity's key", field="by")
        return Split(tuple(named), _shares(split))
    if by is not None:
        raise RequestError("by= goes with shares; a split by time goes by the spine's timestamp", field="by")
    return Split((), _ends(split))


def assigned(parts: Parts, split: Split, spine: Spine) -> pa.Array:
    """The part of each row, in spine order; NULL for a row that is in none.

    By shares: of the MD5 of the columns' texts, joined by the character 31, NULL being the character 0, the last 8 bytes are read as
    a little-endian number. The parts cut its range in their order, so that equal keys are in the same part of every training set
    that is split alike. By time: the first part that ends after the row's time; none for NULL.
    """
    names = pa.array([name for name, _ in split.parts], pa.string())
    if not split.by:
        ends = [times.LAST + 1 if end is None else int(end) for _, end in split.parts]
        moments = spine.times.cast(pa.int64()).combine_chunks()
        known = moments.fill_null(times.LAST + 1).to_numpy(zero_copy_only=False)
        index = np.searchsorted(np.array(ends), known, side="right")
        return names.take(pa.array(index, mask=index == len(ends)))
    limits = np.array([min(round(limit * 2**64), 2**64 - 1) for limit in _running(split)[:-1]], np.uint64)
    return names.take(pa.array(np.searchsorted(limits, _hashes(parts, split, spine), side="right")))


def counted(split: Split, rows: pa.Array) -> dict[str, Any]:
    """The manifest's words: the split, with the rows of each part, and those in none."""
    found = {entry["values"]: entry["counts"] for entry in rows.value_counts().to_pylist()}
    return {**split.to_dict(), "rows": {name: found.get(name, 0) for name, _ in split.parts}, "unassigned": rows.null_count}


def checked(manifest: Mapping[str, Any], part: str) -> str:
    """The name of a part that a training set has. Raises: RequestError where it has none at all; NotFound with those it has."""
    split = manifest.get("split")
    if split is None:
        raise RequestError(f"training set {manifest['id']} was built without a split; build it with split={{'train': 0.8, 'test': 0.2}}")
    if part not in split["rows"]:
        raise NotFound("part", part, split["rows"], f"training set {manifest['id']}")
    return part


def _hashes(parts: Parts, split: Split, spine: Spine) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    columns = {f"c{index}": spine.table.column(spine.table.schema.get_field_index(name)) for index, name in enumerate(split.by)}
    texts = ", ".join(f"coalesce(CAST({column} AS VARCHAR), chr(0))" for column in columns)
    with parts.engine.session() as session:
        session.add("keys", pa.table({**columns, "n": np.arange(spine.table.num_rows)}))
        rows = session.batches(f"SELECT md5_number_lower(concat_ws(chr(31), {texts})) AS h FROM keys ORDER BY n").read_all()
    found: np.ndarray[Any, np.dtype[np.uint64]] = rows.column("h").to_numpy()
    return found


def _running(split: Split) -> list[float]:
    shares = [float(share or 0) for _, share in split.parts]
    return [math.fsum(shares[: index + 1]) for index in range(len(shares))]


def _shares(split: Given) -> tuple[tuple[str, float], ...]:
    shares = [(name, float(share)) for name, share in split.items() if isinstance(share, int | float)]
    for name, share in shares:
        if not 0 < share <= 1:
            raise RequestError(f"split: the share of '{name}' is {share}; give a share above 0, up to 1", field="split")
    if abs(math.fsum(share for _, share in shares) - 1) > 1e-9:
        raise RequestError(f"split: the shares add up to {math.fsum(share for _, share in shares):g}; they must add up to 1", field="split")
    return tuple(shares)


def _ends(split: Given) -> tuple[tuple[str, int | None], ...]:
    ends: list[tuple[str, int | None]] = []
    for name, end in split.items():
        if end is not None and not isinstance(end, str | datetime):
            raise RequestError(f"split: '{name}' is {end!r}; give shares of all parts, or the time at which each ends", field="split")
        at = None if end is None else times.parse(end, f"split '{name}'")
        before = ends[-1] if ends else None
        if before is not None and (before[1] is None or (at is not None and at <= before[1])):
            raise RequestError(f"split: '{name}' does not end after '{before[0]}'; put the parts in the order of time", field="split")
        ends.append((name, at))
    return tuple(ends)
