"""The join in DuckDB, of keys, times and all features at once: a second implementation of the rules, which leaves tables behind."""

from collections.abc import Sequence

import pyarrow as pa

from featurestore.compiler.join_rows import derived_items, join_facts, joined_features
from featurestore.compiler.point_in_time import ROW, T
from featurestore.compiler.query import Query
from featurestore.compiler.relations import Handle
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.results import single_row
from featurestore.engine.session import Session
from featurestore.joins.derived_rows import derived_rows
from featurestore.joins.gather.view_log import BATCH
from featurestore.joins.view_join import LOG, SPINE, Facts, ViewFacts, ViewJoin, spine_key_column, spine_time_column, view_table
from featurestore.spines.spine import SpineRows
from featurestore.values.int64 import row_numbers


class EngineJoin:
    """Joins batches of a spine with logs that are read again for each batch; see `join`."""

    rows_at_once = 1 << 23
    """Large, because the logs are read and sorted again for each batch."""

    def __init__(self, session: Session, plan: ServicePlan, views: Sequence[ViewJoin]) -> None:
        self._session, self._plan, self._views = session, plan, views
        self.facts: Facts = {}

    def features(self, spine: SpineRows) -> pa.RecordBatchReader:
        """The features of every view and the derived features, one row per spine row.

        The temporary tables of the views have them until the next batch.
        """
        session, plan = self._session, self._plan
        added = session.add(SPINE.name, _join_columns(plan, spine))
        for view in self._views:
            log = session.add(LOG.name, view.rows())
            joined = session.create_table(view.table.name, view.policy_query(added, log))
            facts = _facts(session, added, view, joined).beside(self.facts.get(view.use.label))
            self.facts[view.use.label] = facts.refuse_leak(view)
        inputs, features = _features(plan)
        return derived_rows(session, plan, features, derived_items(plan, _request_columns(plan)), inputs, BATCH)


def final_query(plan: ServicePlan) -> Query:
    """The features of every view and the derived features, in spine order."""
    return _features(plan)[1]


def _features(plan: ServicePlan) -> tuple[Query, Query]:
    tables = [view_table(index) for index in range(len(plan.uses))]
    return joined_features(SPINE, tables, plan, _request_columns(plan))


def _request_columns(plan: ServicePlan) -> list[str]:
    """The column in SPINE of each request field."""
    return [f"__fs_r{index}" for index, _ in enumerate(plan.request)]


def _join_columns(plan: ServicePlan, spine: SpineRows) -> pa.Table:
    """The columns that the join reads, with generated names, which cannot collide with the spine's names."""
    columns: dict[str, pa.ChunkedArray | pa.Array] = {ROW: row_numbers(spine.rows), T: spine.times}
    for index, column in enumerate(spine.keys):
        columns[spine_key_column(index)] = spine.keys[column]
    for use in plan.uses:
        if (time_column := spine_time_column(plan, use)) is not None:
            columns[time_column] = spine.times_of(use)
    for request_column, (name, _) in zip(_request_columns(plan), plan.request, strict=True):
        columns[request_column] = spine.request[name]
    return pa.table(columns)


def _facts(session: Session, spine: Handle, view: ViewJoin, joined: Handle) -> ViewFacts:
    """The facts of a view, from its table."""
    row = single_row(session, join_facts(view.spine_in_time(spine), joined, view.log.through))
    return ViewFacts(row["missing"], row["past"], row["feature"], row["created"])
