"""Flush the spool: append what waits to the tables of predictions, in order and once, however often the process is killed."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa

from featurestore.errors import CommitConflict, FeatureStoreError
from featurestore.lakehouse import commits, maintenance, tables, writes
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.models.prediction_log import entry as entries
from featurestore.models.prediction_log.entry import Entry
from featurestore.models.prediction_log.spool import Backlog, Spool, Waiting
from featurestore.models.predictions import inference
from featurestore.models.predictions.inference import LoggedModel, PredictionRows
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.garbage import pause_garbage_collection

logger = logger_of(__name__)

UNTIL = "featurestore.logged-until."
"""The prefix of table properties with the number of the newest request of a spool that is in the table; the spool's id follows."""
SPOOLS = 100
"""The spools that a table remembers, those used last: each server process in memory has one."""
ROWS = 20_000
"""Rows of one commit. A commit is written within memory."""
DECODED_AT_ONCE = 2000
"""Requests that exist as Python objects at the same time."""
ACTION = "log"
SNAPSHOTS = 100
"""Snapshots of a table of predictions from which older ones of this log are removed: each commit rewrites the list of all."""
SNAPSHOT_AGE = timedelta(hours=1)
"""Readers may use a snapshot of this age."""


def keep_named_snapshots(runtime: Runtime, spool: Spool) -> None:
    """Tag the snapshots that waiting predictions name and that are not tagged yet, before anything makes them expire."""
    for id, document in spool.pins_to_keep():
        inference.keep_snapshots(runtime, _pins(document))
        spool.mark_kept(id)


def flush(runtime: Runtime, spool: Spool) -> int:
    """Append everything that waits, at most ROWS at a time, and remove it from the spool. Returns the number of rows.

    The table's commit also records the number of the newest request, so that a request is appended once although the process may be
    killed before it is removed, or another process flushes the same spool. A table that cannot be written does not delay others.
    Raises: the error of the last such table.
    """
    keep_named_snapshots(runtime, spool)
    total, failure = 0, None
    for backlog in spool.backlog():
        try:
            total += _flush_table(runtime, spool, backlog)
        except FeatureStoreError as error:
            failure = error
    if failure is not None:
        raise failure
    return total


def _flush_table(runtime: Runtime, spool: Spool, backlog: Backlog) -> int:
    """Append the requests that wait for a table, and return the number of their rows."""
    table, total, done = inference.open_table(runtime, backlog.table), 0, 0
    while done < backlog.newest:
        done = _logged_until(table, spool)
        spool.remove(table.name, done)
        waiting = spool.read(table.name, done, ROWS)
        if not waiting:
            break
        total += _append(table, spool, waiting, done)
    _bound(table, spool)
    return total


def _append(table: Table, spool: Spool, waiting: Sequence[Waiting], done: int) -> int:
    """Append requests in one commit, unless the table has others than those up to `done`; returns the number of rows."""
    rows = _ordered_rows(table, spool, waiting)
    until = waiting[-1].number

    def attempt() -> int | None:
        properties = {UNTIL + spool.id: json.dumps({"number": until, "at": times.now()})}
        summary = {writes.OPERATION: ACTION, UNTIL + spool.id: str(until)}
        return writes.append(table, rows.to_reader(), summary=summary, properties=properties)

    def recover(conflict: CommitConflict) -> None:
        table.show(commits.reload(table))
        if _logged_until(table, spool) != done:
            raise conflict

    try:
        commits.retry(table.name, attempt, undone="the predictions wait", recover=recover)
    except CommitConflict:
        if _logged_until(table, spool) == done:
            raise
        # Another process flushes the same spool, and was first.
        return 0
    return len(rows)


def _ordered_rows(table: Table, spool: Spool, waiting: Sequence[Waiting]) -> pa.Table:
    """The rows of these requests as the table stores them, in order."""
    layouts = {id: _layout(document) for id, document in spool.layouts().items()}
    pins = spool.all_pins()
    parts, order = [], []
    for start in range(0, len(waiting), DECODED_AT_ONCE):
        # Entries are lists of lists without cycles: nothing is left of them after each turn.
        with pause_garbage_collection():
            for group in _groups(waiting[start : start + DECODED_AT_ONCE], start):
                first = group[0][1]
                for numbers, part in _parts(layouts[first.layout], pins[first.pins], group):
                    parts.append(part)
                    order.append(numbers)
    rows = inference.stored_rows(table, parts)
    places = np.concatenate([np.zeros(0, np.int64), *order])
    return rows if (np.diff(places) >= 0).all() else rows.take(pa.array(np.argsort(places, kind="stable")))


def _groups(waiting: Sequence[Waiting], start: int) -> list[list[tuple[int, Entry]]]:
    """The decoded entries of requests that can be converted together, each with its place; that of the first request is `start`."""
    groups: dict[object, list[tuple[int, Entry]]] = {}
    for place, request in enumerate(waiting, start):
        entry = entries.decode(request.body)
        groups.setdefault((entry.layout, entry.pins, entries.kind_of(entry)), []).append((place, entry))
    return list(groups.values())


def _parts(model: LoggedModel, pins: str, group: Sequence[tuple[int, Entry]]) -> list[tuple[np.ndarray, PredictionRows]]:
    """The rows of entries, converted together; if some cannot be, one by one, without those."""
    try:
        return [(_numbers(group), entries.to_rows(model, pins, [entry for _, entry in group]))]
    except _UNSTORABLE as error:
        if len(group) == 1:
            logger.error("the prediction %s of model %s cannot be logged: %s", group[0][1].request_id, model.name, error)
            return []
    return list(chain.from_iterable(_parts(model, pins, [waiting]) for waiting in group))


_UNSTORABLE = (FeatureStoreError, pa.ArrowException, OverflowError, ValueError, TypeError)
"""Errors of values that a table cannot store."""


def _numbers(group: Sequence[tuple[int, Entry]]) -> np.ndarray:
    """For each row of the entries, the place of its request."""
    return np.repeat([number for number, _ in group], [len(entry.predictions) for _, entry in group])


def _layout(document: str) -> LoggedModel:
    return msgspec.json.decode(document, type=LoggedModel)


def _pins(document: str) -> Mapping[str, int | None]:
    return {table: None if snapshot is None else int(snapshot) for table, snapshot in json.loads(document).items()}


def _logged_until(table: Table, spool: Spool) -> int:
    """The number of the newest request of the spool that is in the table; 0 for none."""
    note = table.properties.get(UNTIL + spool.id)
    return 0 if note is None else int(json.loads(note)["number"])


def _bound(table: Table, spool: Spool) -> None:
    """Remove snapshots of this log that nobody reads any more, and notes of spools that are long gone. It is tried again next time."""
    try:
        if len(table.snapshot_ids) > SNAPSHOTS:
            maintenance.expire_snapshots(table, times.moment(times.now()) - SNAPSHOT_AGE, action=ACTION)
        notes = {name: json.loads(note)["at"] for name, note in table.properties.items() if name.startswith(UNTIL)}
        if len(notes) > SPOOLS:
            tables.set_properties(table, {}, sorted(notes, key=lambda name: notes[name])[:-SPOOLS])
    except CommitConflict as error:
        logger.info("old snapshots of %s were not expired: %s", table.name, error)
