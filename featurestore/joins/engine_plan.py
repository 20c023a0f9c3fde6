"""The plan for logs that do not fit in memory: join keys, times and all features in the engine, which spills."""

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
from featurestore.values.int64 import numbers


class Spilling:
    """Joins a spine, some rows at once, with logs that are read anew each time; see `join`."""

    rows_at_once = 1 << 23
    """Many: each time the logs are read and put in order again."""

    def __init__(self, session: Session, plan: ServicePlan, views: Sequence[ViewJoin]) -> None:
        self._session, self._plan, self._views = session, plan, views
        self.facts: Facts = {}

    def features(self, spine: SpineRows) -> pa.RecordBatchReader:
        """The features of every view and the derived ones over them, a row for each of the spine's.

        The temporary tables of the views have them, until the next rows of the spine.
        """
        self._session.add(SPINE, _narrow(self._plan, spine))
        for view in self._views:
            self._session.add(LOG, view.rows())
            self._session.run(f"CREATE OR REPLACE TEMP TABLE {view.table} AS {view.sql}")
            facts = _facts(self._session, view).beside(self.facts.get(view.use.label))
            self.facts[view.use.label] = facts.proven(view)
        inner, columns, derived = _parts(self._plan)
        return derived_rows(self._session, self._plan, _ordered(inner, columns), derived, f"(\n{inner}\n)", BATCH)


def final_select(plan: ServicePlan) -> str:
    """The features of every view and the derived ones over them, in spine order."""
    inner, columns, _ = _parts(plan)
    return _ordered(inner, columns)


def _parts(plan: ServicePlan) -> tuple[str, list[str], list[str]]:
    """The SELECT of what the columns are made of, all columns, and the derived ones alone."""
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
    """The narrow spine's column for the request field at this position."""
    return f"__fs_r{index}"


def _narrow(plan: ServicePlan, spine: SpineRows) -> pa.Table:
    """Only what the join reads, under names of its own: the spine's other columns may be called anything."""
    columns: dict[str, pa.ChunkedArray | pa.Array] = {ROW: numbers(spine.rows), T: spine.times}
    for index, column in enumerate(spine.keys):
        columns[f"__fs_c{index}"] = spine.keys[column]
    for index, (name, _) in enumerate(plan.request):
        columns[_request_column(index)] = spine.request[name]
    return pa.table(columns)


def _facts(session: Session, view: ViewJoin) -> ViewFacts:
    """What the view's temporary table says."""
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
