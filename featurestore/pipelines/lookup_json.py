"""Write the answer to a lookup as JSON directly from encoded rows, without a Python object per row and status.

The document equals that of `OnlineFeatures.to_json`. The values of stored rows are JSON, each after a comma, so the rows of an entity's
views only need to be concatenated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple, cast

import numpy as np
import orjson

from featurestore.compiler.service_plan import ServicePlan, ViewUse
from featurestore.errors import NotReady
from featurestore.online.rows import TIME_BIAS, VERSION_BYTES, decode_time
from featurestore.online.store import AsyncReader, EncodedRead, EncodedReads, OnlineStore, TableState
from featurestore.pipelines.lookup import online_column_missing
from featurestore.pipelines.lookup_derived import Columns, DerivedFeatures
from featurestore.pipelines.online_features import EXPIRED, NOT_FOUND, PRESENT, newest_edition
from featurestore.records.defaults import default_values
from featurestore.values import json_encoding, times

MANY_TIMES = 8
"""From this number of times, numpy and orjson format them faster than Python."""
_NULL = b",null"
_TIME_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
_TIME_TEXT_BYTES = len('"2026-01-01T00:00:00.000001Z"')
_TIME = Struct(">Q")


Counts = list[tuple[tuple[str, str], int]]
"""How many entities have which status, by (label of the view, status)."""


def count_statuses(status: Mapping[str, Sequence[str | None]]) -> Counts:
    """How many entities have which status, of the statuses by view of an answer."""
    return [((view, state), states.count(state)) for view, states in status.items() for state in dict.fromkeys(states) if state]


class Answer(NamedTuple):
    """The document, and the statuses in it."""

    content: bytes
    counts: Counts


@dataclass(frozen=True)
class _View:
    """A view of the plan: `nulls` are the encoded values of an entity without a row, `ttl` is in microseconds."""

    label: str
    nulls: bytes
    ttl: int | None


class LookupWriter:
    """Writes answers for one service plan, and reuses their common parts while the headers of the tables stay the same."""

    def __init__(self, plan: ServicePlan, derived: DerivedFeatures | None = None) -> None:
        """`derived` computes the derived features of the plan, if there are any."""
        self._plan, self._derived = plan, derived
        self._tables: list[TableState | None] = []
        self._form: _Form | None = None

    def write(self, reads: Sequence[EncodedRead], fields: Columns, now: int, full: bool) -> Answer | None:
        """The answer for encoded rows, with one read per view of the plan and at least one entity; `now` is in microseconds.

        None if the derived features need the engine.

        Raises: orjson.JSONDecodeError for invalid bytes of a row; NotReady for a table with other keys than its view.
        """
        form = self._form
        tables = [read.table for read in reads]
        if form is None or any(map(_is_other, tables, self._tables)):
            form = self._form = _Form(self._plan, self._derived, tables)
            self._tables = tables
        return form.write([read.rows for read in reads], fields, now, full)


def write_current(
    store: OnlineStore | AsyncReader, writer: LookupWriter, reads: EncodedReads, fields: Columns, full: bool, generation: int
) -> Answer | None:
    """The current answer for what was read for each view of a plan, with at least one entity.

    None if the online store has another generation (the plan may be outdated) or lacks a table (`lookup` checks whether it is lost), or
    if the derived features need the engine. Raises: NotReady.
    """
    if reads.generation != generation or any(read.table is None for read in reads.tables):
        return None
    with store.decoding():
        return writer.write(reads.tables, fields, times.now(), full)


def _is_other(table: TableState | None, known: TableState | None) -> bool:
    return table is not known


class _Form:
    """The common parts of all answers, valid while the headers of the tables stay the same."""

    def __init__(self, plan: ServicePlan, derived: DerivedFeatures | None, tables: Sequence[TableState | None]) -> None:
        self._views = [_view(use, table) for use, table in zip(plan.uses, tables, strict=True)]
        places = _places(plan, tables)
        self._select = _selector(places, sum(len(_stored_columns(use, table)) for use, table in zip(plan.uses, tables, strict=True)))
        self._derived = derived
        self._defaults = _defaults(plan, places)
        self._inputs = [] if derived is None else [(name, places[plan.looked_up_names.index(name)]) for name in derived.inputs]
        self._brief, self._full = _templates(plan, () if derived is None else derived.types, tables)
        self._all_present = lru_cache(maxsize=16)(self._present)

    def write(self, stored: Sequence[list[bytes | None]], fields: Columns, now: int, full: bool) -> Answer | None:
        """See LookupWriter.write."""
        oldest = [b"" if view.ttl is None else _TIME.pack(max(now - view.ttl + TIME_BIAS, 0)) for view in self._views]
        if any(None in rows for rows in stored):
            return self._write_some(stored, fields, oldest, full)
        rows = cast(Sequence[list[bytes]], stored)
        # Encoded times sort like times: a row is expired if it is older than the ttl, to the microsecond.
        if any(first and min(encoded) < first for encoded, first in zip(rows, oldest, strict=True)):
            return self._write_some(stored, fields, oldest, full)
        values = self._rows(rows, VERSION_BYTES, fields)
        status, counts = self._all_present(len(rows[0]))
        if values is None:
            return None
        content = self._full % (values, *status, *_time_texts(rows)) if full else self._brief % values
        return Answer(content, counts)

    def _write_some(self, stored: Sequence[list[bytes | None]], fields: Columns, oldest: Sequence[bytes], full: bool) -> Answer | None:
        """The answer if an entity has no row in a view, or an expired one."""
        statuses = [
            [NOT_FOUND if row is None else EXPIRED if row < first else PRESENT for row in rows]
            for rows, first in zip(stored, oldest, strict=True)
        ]
        values = [
            [row[VERSION_BYTES:] if row is not None and status is PRESENT else view.nulls for row, status in zip(rows, column, strict=True)]
            for view, rows, column in zip(self._views, stored, statuses, strict=True)
        ]
        by_view = zip(self._views, statuses, strict=True)
        counts = [((view.label, status), column.count(status)) for view, column in by_view for status in dict.fromkeys(column)]
        rows = self._rows(values, 0, fields)
        if rows is None:
            return None
        if not full:
            return Answer(self._brief % rows, counts)
        return Answer(self._full % (rows, *map(orjson.dumps, statuses), *map(_each_time, stored)), counts)

    def _present(self, count: int) -> tuple[list[bytes], Counts]:
        """The statuses of `count` entities that have a row in each view: per view as JSON, and counted."""
        return [orjson.dumps([PRESENT] * count)] * len(self._views), [((view.label, PRESENT), count) for view in self._views]

    def _rows(self, values: Sequence[Sequence[bytes]], start: int, fields: Columns) -> bytes | None:
        """The rows as JSON, from the values of each view, which begin at byte `start`; None if the derived features need the engine."""
        columns = [[row[start + 1 :] for row in values[0]], *([row[start:] for row in encoded] for encoded in values[1:])]
        content = _concatenate(columns)
        if self._derived is None and self._select is None and not self._defaults:
            return content
        rows: list[list[Any]] = orjson.loads(content)
        for place, default in self._defaults:
            for row in rows:
                row[place] = default if row[place] is None else row[place]
        if self._select is not None:
            columns = [[orjson.dumps(self._select(row))[1:-1] for row in rows]]
        elif self._defaults:
            columns = [[orjson.dumps(row)[1:-1] for row in rows]]
        if self._derived is not None:
            looked_up = {name: [row[place] for row in rows] for name, place in self._inputs}
            derived = self._derived.compute(fields, looked_up, len(rows))
            if derived is None:
                return None
            columns.append([b",%b" % json_encoding.dumps(row)[1:-1] for row in zip(*derived, strict=True)])
        return _concatenate(columns)


def _concatenate(columns: Sequence[Sequence[bytes]]) -> bytes:
    """JSON rows from columns of fragments; all but those of the first column begin with a comma. One join copies every byte once."""
    step = len(columns) + 1
    parts = [b"],["] * (step * len(columns[0]))
    for index, fragments in enumerate(columns, 1):
        parts[index::step] = fragments
    parts[0] = b"[["
    return b"".join([*parts, b"]]"])


def _view(use: ViewUse, table: TableState | None) -> _View:
    if table is not None and table.keys and len(table.keys) != len(use.keys):
        raise NotReady(f"the online rows of {use.table} have other keys than its view; run featurestore publish --full", table=use.table)
    return _View(use.label, _NULL * len(_stored_columns(use, table)), use.ttl)


def _places(plan: ServicePlan, tables: Sequence[TableState | None]) -> list[int]:
    """The position of each looked-up feature among the stored values of an entity."""
    places: list[int] = []
    width = 0
    for use, table in zip(plan.uses, tables, strict=True):
        stored = _stored_columns(use, table)
        places += [width + stored.index(column) for column, _ in use.features]
        width += len(stored)
    return places


def _defaults(plan: ServicePlan, places: Sequence[int]) -> list[tuple[int, Any]]:
    """The position of each looked-up feature with a default among the stored values of an entity, and the JSON value of the default."""
    values = {name: value for use in plan.uses for name, value in default_values(use).items()}
    name_places = zip(plan.looked_up_names, places, strict=True)
    return [(place, orjson.loads(json_encoding.dumps(values[name]))) for name, place in name_places if name in values]


def _selector(places: Sequence[int], width: int) -> Callable[[list[Any]], Sequence[Any]] | None:
    """A function that selects the values at these positions; None if these are all values in order."""
    if places == list(range(width)):
        return None
    return (lambda row: [row[places[0]]]) if len(places) == 1 else itemgetter(*places)


def _stored_columns(use: ViewUse, table: TableState | None) -> tuple[str, ...]:
    """The stored columns of a view's rows; for a table that never had rows, the requested columns, which are all NULL."""
    features = tuple(column for column, _ in use.features)
    if table is None or not table.columns:
        return features
    if lacking := [column for column in features if column not in table.columns]:
        raise online_column_missing(use.table, lacking[0])
    return table.columns


def _templates(plan: ServicePlan, derived_types: Sequence[str], tables: Sequence[TableState | None]) -> tuple[bytes, bytes]:
    """The brief and the full document as templates: `%b` stands for the rows, and in the full one also for each view's status and
    timestamps.
    """
    cursors = [(use.table, None if table is None else table.cursor) for use, table in zip(plan.uses, tables, strict=True)]
    snapshots = {name: None if cursor is None or cursor.snapshot_id is None else str(cursor.snapshot_id) for name, cursor in cursors}
    watermarks = {name: None if cursor is None else times.text(cursor.materialized_through) for name, cursor in cursors}
    types = [*(sql_type for use in plan.uses for sql_type in use.feature_types), *(None for _ in derived_types)]
    all_types = b',"types":' + _escape(types) + (b',"derived_types":' + _escape(derived_types) if derived_types else b"")
    start = b'{"features":%b,"rows":' % _escape(plan.feature_names)
    edition = newest_edition(None if table is None else table.edition for table in tables)
    edition_text = None if edition is None else str(edition)
    middle = b',"snapshots":%b,"watermarks":%b,"edition":%b' % (_escape(snapshots), _escape(watermarks), _escape(edition_text))
    places = b",".join(_escape(use.label) + b":%b" for use in plan.uses)
    more = b'%b,"status":{%b},"timestamps":{%b}' % (all_types, places, places)
    return start + b"%b" + middle + b"}", start + b"%b" + middle + more + b"}"


def _escape(value: Any) -> bytes:
    """A value as JSON, escaped for a template."""
    return orjson.dumps(value).replace(b"%", b"%%")


def _time_texts(stored: Sequence[list[bytes]]) -> list[bytes]:
    """The feature timestamps of each view's rows as JSON arrays of RFC 3339 texts."""
    count = len(stored[0])
    if count * len(stored) < MANY_TIMES:
        return [b"[%b]" % b",".join([_time_text(row[: _TIME.size]) for row in rows]) for rows in stored]
    encoded = b"".join([row[: _TIME.size] for rows in stored for row in rows])
    moments = (np.frombuffer(encoded, ">u8") ^ np.uint64(TIME_BIAS)).astype(np.int64).view("M8[us]").reshape(len(stored), count)
    try:
        content = orjson.dumps(moments, option=_TIME_OPTIONS)
    except TypeError:  # At the end of the year 9999.
        return [_each_time(rows) for rows in stored]
    return [b"[%b]" % _with_microseconds(texts, count) for texts in content[2:-2].split(b"],[")]


def _with_microseconds(texts: bytes, count: int) -> bytes:
    """Add microseconds to the times where orjson omits them because they are zero."""
    if len(texts) == count * (_TIME_TEXT_BYTES + 1) - 1:
        return texts
    whole = _TIME_TEXT_BYTES - len(".000001")
    return b",".join(text[:-2] + b'.000000Z"' if len(text) == whole else text for text in texts.split(b","))


def _each_time(rows: Sequence[bytes | None]) -> bytes:
    """The feature timestamps of one view's rows as a JSON array, with null for an entity without a row."""
    return b"[%b]" % b",".join([b"null" if row is None else _time_text(row[: _TIME.size]) for row in rows])


@lru_cache(maxsize=16_384)
def _time_text(encoded: bytes) -> bytes:
    return orjson.dumps(times.text(decode_time(encoded)))
