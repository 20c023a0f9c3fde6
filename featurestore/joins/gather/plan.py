"""The plan for logs whose order fits in memory: match keys and times, and take the features by position, a column at a time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from featurestore.compiler.derived import derived_columns
from featurestore.compiler.point_in_time import ROW
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.joins.derived_rows import derived_rows
from featurestore.joins.gather.as_of import NEVER, micros
from featurestore.joins.gather.view_log import BATCH, Match, Orders, ViewLog, opened
from featurestore.joins.view_join import Facts, ViewFacts, ViewJoin
from featurestore.spines.spine import SpineRows
from featurestore.values.arrays import whole
from featurestore.values.int64 import Numbers, numbers

WIDTHS = {"DOUBLE": 8, "BIGINT": 8, "TIMESTAMP WITH TIME ZONE": 8, "FLOAT": 4, "INTEGER": 4, "DATE": 4, "BOOLEAN": 1}
WIDE = 32
"""What a value of any other type is taken for."""
BESIDE = 64
"""What a row takes for each view while it is matched."""


class Gathering:
    """Joins a spine, some rows at once, with logs that are kept in order; see `join`."""

    def __init__(self, session: Session, plan: ServicePlan, logs: Sequence[ViewLog], room: int) -> None:
        self._session, self._plan, self._logs = session, plan, logs
        self.facts: Facts = {}
        kinds = [kind for use in plan.uses for kind in use.feature_types]
        width = sum(WIDTHS.get(kind, WIDE) for kind in kinds) + WIDE * len(plan.derived) + BESIDE * len(logs)
        # Half of it: what is written is on its way out while the next rows are gathered.
        self.rows_at_once = max(BATCH, room // 2 // width)

    def features(self, spine: SpineRows) -> pa.RecordBatchReader:
        """The features of every view and the derived ones over them, a row for each of the spine's."""
        columns: list[pa.ChunkedArray] = []
        orders: Orders = {}
        asked = micros(spine.times)
        # One view is matched while others are put in order or taken from: that waits for memory, and matching has but one processor.
        with ThreadPoolExecutor(2) as thread:
            orders_made = [thread.submit(log.order) for log in self._logs]
            looked_up: list[Future[tuple[list[pa.ChunkedArray], ViewFacts]]] = []
            for log, made in zip(self._logs, orders_made, strict=True):
                made.result()
                looked_up.append(thread.submit(_looked_up, log.view, log.match(spine, orders), asked))
        for log, found in zip(self._logs, looked_up, strict=True):
            features, facts = found.result()
            columns += features
            label = log.view.use.label
            self.facts[label] = facts.beside(self.facts.get(label)).proven(log.view)
        fields = [pa.field(name, column.type) for name, column in zip(self._plan.looked_up_names, columns, strict=True)]
        if not self._plan.derived:
            return pa.RecordBatchReader.from_batches(pa.schema(fields), _batches(pa.schema(fields), columns, spine.rows))
        derived = self._derived([*columns, *(spine.request[name] for name, _ in self._plan.request)])
        schema = pa.schema([*fields, *derived.schema])
        return pa.RecordBatchReader.from_batches(schema, _beside(schema, columns, derived))

    def _derived(self, columns: Sequence[pa.ChunkedArray]) -> pa.RecordBatchReader:
        """The derived features over these looked-up features and request fields."""
        plan = self._plan
        kinds = [kind for use in plan.uses for kind in use.feature_types] + [kind for _, kind in plan.request]
        names = [*plan.looked_up_names, *(name for name, _ in plan.request)]
        inner = {f"__fs_g{index}": column for index, column in enumerate(columns)}
        rows = len(columns[0]) if columns else 0
        self._session.add("gathered", pa.table({ROW: numbers(rows), **inner}))
        scope = {name: f"CAST({column} AS {kind})" for name, column, kind in zip(names, inner, kinds, strict=True)}
        derived = derived_columns(plan, scope)
        select = f"SELECT {', '.join(derived)} FROM gathered ORDER BY {ROW}"
        return derived_rows(self._session, plan, select, derived, "gathered", BATCH)


def gathering(session: Session, plan: ServicePlan, views: Sequence[ViewJoin], room: int) -> Gathering | None:
    """The plan, if the logs leave it half of `room` bytes; else None."""
    left = room
    logs: list[ViewLog] = []
    for view in views:
        log = opened(session, view, left - room // 2) if room else None
        if log is None:
            return None
        logs.append(log)
        left -= log.bytes
    return Gathering(session, plan, logs, left)


def _looked_up(view: ViewJoin, match: Match, asked: Numbers) -> tuple[list[pa.ChunkedArray], ViewFacts]:
    """The features that spine rows see at the times `asked`, and what is to be said of them."""
    if view.use.ttl is not None:
        there = match.times != NEVER
        match = match.without(there & (asked - np.where(there, match.times, asked) > view.use.ttl))
    created, *features = match.take(["created_timestamp", *(column for column, _ in view.use.features)])
    return features, _facts(view, asked, match.times, micros(created))


def _facts(view: ViewJoin, asked: Numbers, seen: Numbers, created: Numbers) -> ViewFacts:
    found = seen != NEVER
    through = view.log.through
    past = len(asked) if through is None else int(((asked > through) & (asked != NEVER)).sum())
    return ViewFacts(int((~found).sum()), past, *(_most(times, asked) for times in (seen, np.where(found, created, NEVER))))


def _most(times: Numbers, asked: Numbers) -> int | None:
    there = times != NEVER
    return int((times[there] - asked[there]).max()) if there.any() else None


def _batches(schema: pa.Schema, columns: Sequence[pa.ChunkedArray], rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, max(rows, 1), BATCH):
        yield pa.RecordBatch.from_arrays([whole(column.slice(start, BATCH)) for column in columns], schema=schema)


def _beside(schema: pa.Schema, columns: Sequence[pa.ChunkedArray], derived: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in derived:
        own = [whole(column.slice(done, batch.num_rows)) for column in columns]
        done += batch.num_rows
        yield pa.RecordBatch.from_arrays([*own, *batch.columns], schema=schema)
