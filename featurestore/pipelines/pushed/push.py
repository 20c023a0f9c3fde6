"""Push rows to a source: acknowledged means durable in the log, and each row with an id counts once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore.dsl.source import Source
from featurestore.errors import FeatureStoreError, RequestError
from featurestore.masking import logger_of
from featurestore.pipelines.pushed.rows import read_pushed
from featurestore.pipelines.pushed.target import PushTarget, find_target
from featurestore.push.lot import make_lot
from featurestore.records.names import source_name
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.arguments import naming
from featurestore.values.result import Result

logger = logger_of(__name__)

ONLINE_SECONDS = 10.0
"""How long a push waits until lookups have its rows; they are durable before."""


@dataclass(frozen=True, eq=False)
class Pushed(Result):
    """What became of a push: of its `rows`, `new` were added, and `known` not, since their ids were known, or were twice in the push.

    `acknowledged` is the time at which the rows became durable, and `offset` their place in the log; None for a push without rows.
    `late` says why lookups do not have the rows yet; None if they do, or, of a server, will within a second.
    """

    source: str
    rows: int
    new: int
    known: int
    acknowledged: datetime | None
    offset: int | None
    late: str | None = None


def push(runtime: Runtime, source: str | Source, rows: Any) -> Pushed:
    """Push a pandas or polars frame, Arrow data, or a list of dicts; returns when they are durable.

    Raises: NotFound; Conflict; RequestError, TypeMismatch and TooLarge naming row and column, with nothing pushed; Busy, NotReady and
    OutOfResources: nothing was pushed; Timeout: it is not known whether.
    """
    name = source_name(source)
    target = find_target(runtime, name)
    if isinstance(rows, pa.RecordBatchReader):
        # It can be read once.
        rows = rows.read_all()
    try:
        return _push(runtime, target, rows)
    except RequestError as error:
        # The columns may have changed since.
        again = find_target(runtime, name, fresh=True)
        if again is target:
            _count_refused(runtime, target, rows, error)
            raise
        return _push(runtime, again, rows)


def _push(runtime: Runtime, target: PushTarget, rows: Any) -> Pushed:
    source = target.source
    with naming("rows"):
        table = read_pushed(rows, source, max(times.now(), runtime.pushes.latest))
    if not table.num_rows:
        return Pushed(source.name, 0, 0, 0, None, None)
    done = runtime.pushes.append(target.stream, make_lot(table, source.timestamp, source.id))
    # Imported here: clients read the result of a push, and need none of what computes views.
    from featurestore.pipelines.fresh.refresher import refresher_of  # noqa: PLC0415

    refresher = refresher_of(runtime)
    refresher.want(source.name, done.offset)
    late = None if refresher.serving else refresher.wait(source.name, done.offset, ONLINE_SECONDS)
    return Pushed(source.name, table.num_rows, done.rows, table.num_rows - done.rows, times.moment(done.at), done.offset, late)


def _count_refused(runtime: Runtime, target: PushTarget, rows: Any, error: RequestError) -> None:
    """Count rows that were refused; of the error only what has no values of rows."""
    place = str(error.details.get("field"))
    field = place.partition(", column '")[2].removesuffix("'") or place
    known = field in (target.source.schema or {})
    count = len(rows) if hasattr(rows, "__len__") and not isinstance(rows, str) else 1
    try:
        runtime.event_log.refuse(target.stream, count, f"{type(error).__name__}{f' in {field}' if known else ''}")
    except FeatureStoreError as failure:
        logger.warning("rows that were refused by source %s could not be counted: %s", target.source.name, failure)
