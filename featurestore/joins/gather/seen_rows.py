"""What a policy shows of the rows that a match selected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.policy_join import raw_column, seen_rows
from featurestore.compiler.row_policy import VISIBLE
from featurestore.engine.session import Session
from featurestore.joins.gather.as_of import NEVER
from featurestore.joins.gather.view_log import Match
from featurestore.joins.view_join import ViewJoin
from featurestore.values.int64 import Numbers, int64_scalar, row_numbers, to_arrow, to_numpy


@dataclass(frozen=True)
class SeenRows:
    """A match without the rows that are hidden, and the values of masked columns, which also stand where there is no row."""

    match: Match
    masked: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)

    def mask(self, names: Sequence[str], raw: Sequence[pa.ChunkedArray], times: Numbers) -> list[pa.ChunkedArray]:
        """The columns of these names, raw or masked, NULL for the spine rows whose match has no time."""
        if not self.masked:
            return list(raw)
        there = pc.equal(to_arrow((times != NEVER).astype(np.int64)), int64_scalar(1))
        return [
            pc.if_else(there, self.masked[name].cast(column.type), pa.scalar(None, column.type)) if name in self.masked else column
            for name, column in zip(names, raw, strict=True)
        ]


def see_rows(session: Session, view: ViewJoin, match: Match) -> SeenRows:
    """Apply the policy of a view to the rows of its match."""
    policy = view.policy
    if policy is None:
        return SeenRows(match)
    names = tuple(dict.fromkeys(name for name in view.use.columns if name in policy.masked))
    if not names and not policy.filters:
        return SeenRows(match)
    reads = policy.reads(names)
    rows = len(match.times)
    raw = dict(zip(map(raw_column, range(len(reads))), match.take(reads), strict=True)) if reads else {}
    added = session.add("seen", pa.table({ROW: row_numbers(rows), **raw}))
    seen = session.batches(seen_rows(policy, names, added)).read_all()
    visible = to_numpy(seen.column(VISIBLE).cast(pa.int64()), 0) == 1
    masked = {name: seen.column(raw_column(index)) for index, name in enumerate(names)}
    return SeenRows(match.without(~visible) if policy.filters else match, masked)
