"""The join plan for logs that do not fit in memory: keys, times and all features are joined in DuckDB, which spills."""

from collections.abc import Sequence

import pyarrow as pa

from featurestore.compiler.derived import derived_columns
from featurestore.compiler.expressions import quoted
from featurestore.compiler.point_in_time import CREATED_TIME, FEATURE_TIME, ROW, T
from featurestore.compiler.service_plan import ServicePlan
from featurestore.engine.session import Session
from featurestore.joins.derived_rows import derived_rows
from featurestore.joins.gather.view_log import BATCH
from featurestore.joins.view_join import LOG, SPINE, Facts, ViewFacts, ViewJoin, view_table
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
        self._session.add(SPINE, _join_columns(self._plan, spine))
        for view in self._views:
            self._session.add(LOG, view.rows())
            self._session.run(f"CREATE OR REPLACE TEMP TABLE {view.table} AS {view.sql}")
            facts = _facts(self._session, view).beside(self.facts.get(view.use.label))
            self.facts[view.use.label] = facts.proven(view)
        inner, columns, derived = _parts(self._plan)
        return derived_rows(self._session, self._plan, _ordered(inner, columns), derived, f"(\n{inner}\n)", BATCH)


def final_select(plan: ServicePlan) -> str:
    """A SELECT of the features of every view and the derived features, in spine order."""
    inner, columns, _ = _parts(plan)
    return _ordered(inner, columns)


def _parts(plan: ServicePlan) -> tuple[str, list[str], list[str]]:
    """The SELECT with the inputs of all columns, the SELECT items of all columns, and those of the derived features."""
    scope = {name: _request_column(index) for index, (name, _) in enumerate(plan.request)}
    scope.update({name: quoted(name) for name in plan.looked_up_names})
    looked_up = [f"{view_table(index)}.{quoted(name)}" for index, use in enumerate(plan.uses) for _, name in use.features]
    derived = derived_columns(plan, scope)
    joins = "".join(f"\nJOIN {view_table(index)} USING ({ROW})" for index in range(len(plan.uses)))
    inner = f"SELECT s.*, {', '.join(looked_up)}\nFROM {SPINE} s{joins}"
    columns = [*(quoted(name) for name in plan.looked_up_names), *derived]
    return inner, columns, derived


def _ordered(inner: str, columns: Sequence[str]) -> str:
    return f"SELECT {', '.join(columns)}\nFROM (\n{inner}\n)\nORDER BY {ROW}"


def _request_column(index: int) -> str:
    """The column name of the request field at this position."""
    return f"__fs_r{index}"


def _join_columns(plan: ServicePlan, spine: SpineRows) -> pa.Table:
    """The columns that the join reads, with generated names, which cannot collide with the spine's names."""
    columns: dict[str, pa.ChunkedArray | pa.Array] = {ROW: row_numbers(spine.rows), T: spine.times}
    for index, column in enumerate(spine.keys):
        columns[f"__fs_c{index}"] = spine.keys[column]
    for index, (name, _) in enumerate(plan.request):
        columns[_request_column(index)] = spine.request[name]
    return pa.table(columns)


def _facts(session: Session, view: ViewJoin) -> ViewFacts:
    """The facts of a view, from its temporary table."""
    past = "true" if view.log.through is None else f"epoch_us({T}) > {view.log.through}"
    row = (
        session.batches(
            f"SELECT count(*) FILTER (WHERE {FEATURE_TIME} IS NULL) AS missing, count(*) FILTER (WHERE {past}) AS past,"
            f" max(epoch_us({FEATURE_TIME}) - epoch_us({T})) AS feature, max(epoch_us({CREATED_TIME}) - epoch_us({T})) AS created"
            f" FROM {SPINE} JOIN {view.table} USING ({ROW})"
        )
        .read_all()
        .to_pylist()[0]
    )
    return ViewFacts(row["missing"], row["past"], row["feature"], row["created"])
