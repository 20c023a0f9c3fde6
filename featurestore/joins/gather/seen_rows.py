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
from featurestore.values.int64 import Flags, int64_scalar, row_numbers, to_arrow, to_numpy


@dataclass(frozen=True)
class SeenRows:
    """A match without the rows that are hidden, and the columns that are known, among them the masked ones.

    Those have values also where there is no row.
    """

    match: Match
    known: Mapping[str, pa.ChunkedArray] = field(default_factory=dict)

    def without(self, gone: Flags) -> "SeenRows":
        """Those without the spine rows where `gone` is true."""
        return SeenRows(self.match.without(gone), self.known)

    def take(self, names: Sequence[str]) -> list[pa.ChunkedArray]:
        """These columns of each spine row's match, raw or masked, NULL for none."""
        raw = [name for name in names if name not in self.known]
        columns = dict(zip(raw, self.match.take(raw), strict=True)) if raw else {}
        if self.known:
            there = pc.equal(to_arrow((self.match.times != NEVER).astype(np.int64)), int64_scalar(1))
            for name, column in self.known.items():
                columns[name] = pc.if_else(there, column, pa.scalar(None, column.type))
        return [columns[name] for name in names]


def see_rows(session: Session, view: ViewJoin, match: Match) -> SeenRows:
    """Apply the policy of a view to the rows of its match."""
    policy = view.policy
    if policy is None:
        return SeenRows(match)
    names = tuple(dict.fromkeys(name for name in view.use.columns if name in policy.masked))
    if not names and not policy.filters:
        return SeenRows(match)
    reads = policy.reads(names)
    raw = match.take(reads) if reads else []
    columns = dict(zip(map(raw_column, range(len(reads))), raw, strict=True))
    added = session.add("seen", pa.table({ROW: row_numbers(len(match.times)), **columns}))
    seen = session.batches(seen_rows(policy, names, added)).read_all()
    numbers = to_numpy(seen.column(ROW), 0)
    if not (numbers[1:] > numbers[:-1]).all():
        # The engine keeps the order of rows that it only projects; sorting all of them would cost as much as the rest.
        seen = seen.take(to_arrow(np.argsort(numbers)))
    masked = {name: seen.column(raw_column(index)).cast(raw[index].type) for index, name in enumerate(names)}
    # What was read for the policy is not read again.
    shown = {name: column for name, column in zip(reads, raw, strict=True) if name in view.use.columns} | masked
    if not policy.filters:
        return SeenRows(match, shown)
    visible = to_numpy(seen.column(VISIBLE).cast(pa.int64()), 0) == 1
    return SeenRows(match.without(~visible), shown)
