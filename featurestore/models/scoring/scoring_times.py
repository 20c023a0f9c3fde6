"""As of when features are joined for batch scoring: each row's time, one time for all rows, or the snapshots of the training."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from featurestore.compiler.service_plan import ServicePlan
from featurestore.lakehouse import tables
from featurestore.models.stamps import store_access
from featurestore.models.stamps.stamp import Stamp
from featurestore.store import FeatureStore
from featurestore.values import times
from featurestore.values.arguments import is_tag_mark

ONLINE, TRAINING, BATCH = "online", "training", "batch"
"""Words for `at`: the newest features of the online store; the snapshots of the training; as of each row's time where the rows have the
columns of times, else as of now.
"""
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class ScoringTimes:
    """The plan to join, the column with each row's time, and the snapshots of the feature tables. `moment` (microseconds) is the time of
    all rows, in a column that the rows do not have yet; None: the rows have their own.
    """

    plan: ServicePlan
    column: str
    snapshots: Mapping[str, int | None]
    moment: int | None

    def add_column(self, rows: pa.Table) -> pa.Table:
        """The rows of a table with the column of times."""
        return rows if self.moment is None else rows.append_column(self.column, self._times(rows.num_rows))

    def add_column_to_stream(self, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
        """As `add_column`, batch by batch."""
        if self.moment is None:
            return rows
        schema = rows.schema.append(pa.field(self.column, TIME))
        batches = (pa.RecordBatch.from_arrays([*batch.columns, self._times(batch.num_rows)], schema=schema) for batch in rows)
        return pa.RecordBatchReader.from_batches(schema, batches)

    def _times(self, count: int) -> pa.Array:
        return pa.repeat(pa.scalar(self.moment, pa.int64()), count).cast(TIME)


def scoring_times(stamp: Stamp, store: FeatureStore, at: str | datetime | None, names: Collection[str]) -> ScoringTimes:
    """When features are joined with rows that have the columns `names`; `at` is as in `score`, but not "online".

    Raises: RequestError for a time that cannot be read; NotFound for a tag.
    """
    if at == TRAINING:
        return ScoringTimes(stamp.plan, stamp.timestamp, stamp.snapshots, None)
    if is_tag_mark(at):
        return ScoringTimes(stamp.plan, stamp.timestamp, store_access.tagged_snapshots(store, stamp.plan, str(at)), None)
    namespace = store.settings.features_namespace
    current = {name: tables.load(store.catalog, f"{namespace}.{name}").snapshot_id for name in stamp.views}
    if at == BATCH:
        at = None if all(name in names for name in (stamp.timestamp, *stamp.plan.times)) else times.moment(times.now())
    if at is None:
        return ScoringTimes(stamp.plan, stamp.timestamp, current, None)
    moment = times.parse(at, "at, unless it is 'online', 'training' or 'batch', or a tag such as '@release-2026-11':")
    column = "as_of"
    while column in names:
        column += "_"
    return ScoringTimes(stamp.plan.at_one_time(), column, current, moment)
