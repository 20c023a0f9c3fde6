"""Compare the online store with the feature tables, row by row and bit by bit."""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from struct import Struct
from typing import Any, Literal

import msgspec
import pyarrow as pa

from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.query import all_rows, columns_of, sample_rows
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Relation
from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import commits, scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.table import Table
from featurestore.online.ahead import ahead_of, read_at
from featurestore.online.keys import decode_key, encode_key
from featurestore.online.store import Cursor, Read, Row
from featurestore.pipelines.materialization.changes_ahead import compute_rows_ahead, has_rows_ahead
from featurestore.pipelines.materialization.publish import newest
from featurestore.records import feature_table, stored_definition
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.values import times
from featurestore.values.result import SNAPSHOT_ID, Result

ATTEMPTS = 4
"""How often a comparison is restarted because the table was published during it."""
LISTED = 1000
"""How many differences of a table are listed; all are counted."""
TIMES = ("feature_timestamp", "created_timestamp")
_ROWS = 5_000
_bits = Struct(">d").pack
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, eq=False)
class Difference(Result):
    """A key whose online row differs from its table: it is `missing` online, `extra` online, or `changed`.

    For a changed one, `feature` is the feature or time that differs, with its value `online` and in the `table`.
    """

    key: Mapping[str, Any]
    what: Literal["missing", "extra", "changed"]
    feature: str | None = None
    online: Any = None
    table: Any = None

    def to_dict(self) -> dict[str, Any]:
        """The fields as they are; only those that its kind of difference has."""
        result = {"key": dict(self.key), "what": self.what}
        return {**result, "feature": self.feature, "online": self.online, "table": self.table} if self.what == "changed" else result


@dataclass(eq=False)
class OnlineComparison(Result):
    """The online rows of one view version, compared with its table at the snapshot that was published last.

    Of the `rows` compared, `missing` are not online and `changed` differ in a value or a time; `extra` rows are online but not in the
    table. `differences` lists up to LISTED of them. `pushed` rows differ as well, but because of events that were pushed since.
    """

    view: str
    table: str
    snapshot_id: int | None = field(metadata=SNAPSHOT_ID)
    rows: int = 0
    missing: int = 0
    changed: int = 0
    extra: int = 0
    pushed: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not (self.missing or self.changed or self.extra)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, the snapshot id as text."""
        return {**super().to_dict(), "same": self.same}

    def note(self, difference: Difference) -> None:
        """Add to `differences`, up to LISTED entries."""
        if len(self.differences) < LISTED:
            self.differences.append(difference)


def compare_views(runtime: Runtime, versions: Iterable[Applied], sample: int | None) -> list[OnlineComparison]:
    """Compare each version: all of its rows, or a random sample of `sample` rows.

    Raises: CommitConflict if a table was published during every attempt; Conflict if it no longer has the snapshot that is online.
    """
    return [_compare(runtime, applied, sample) for applied in versions]


def _compare(runtime: Runtime, applied: Applied, sample: int | None) -> OnlineComparison:
    view = stored_definition.checked_stored_view(applied.name, applied.version, applied.document, applied.columns)

    def attempt() -> OnlineComparison:
        table = tables.load(runtime.catalog, runtime.features_table(applied.table))
        cursor = runtime.online.cursor(applied.table)
        if cursor is None and feature_table.state_of(table.properties).through is None:
            return OnlineComparison(applied.name, applied.table, None)
        comparison = _compare_at(runtime, applied, view, table, cursor, sample)
        if runtime.online.cursor(applied.table) != cursor:
            raise CommitConflict(f"'{applied.table}' was published during the comparison")
        return comparison

    return commits.retry(applied.table, attempt, undone="its online rows were not compared", attempts=ATTEMPTS)


def _compare_at(
    runtime: Runtime, applied: Applied, view: FeatureView, table: Table, cursor: Cursor | None, sample: int | None
) -> OnlineComparison:
    """Compare at the snapshot of `cursor`; a table that is not online, at its current snapshot: all its rows are missing."""
    snapshot_id = table.snapshot_id if cursor is None else cursor.snapshot_id
    if snapshot_id is not None and snapshot_id not in table.snapshot_ids:
        raise Conflict(
            f"the online store has {applied.table} at snapshot {snapshot_id}, which the table no longer has; run featurestore publish to"
            " bring it to the current one",
            table=applied.table,
            snapshot_id=str(snapshot_id),
        )
    comparison = OnlineComparison(applied.name, applied.table, snapshot_id)
    columns, keys = list(applied.columns), tuple(view.entity.keys)
    deletions = snapshot_id is not None and tables.has_column(table, snapshot_id, DELETED)
    granted = runtime.operator.grant(table)
    unmatched = set(_draw(chain.from_iterable(runtime.online.keys(applied.table)), sample))
    follows = cursor is not None and cursor.pushed is not None
    if has_rows_ahead(view) and cursor is not None:
        _compare_ahead(runtime, applied, view, table, cursor, sample, comparison)

    def scan_columns(names: Sequence[str]) -> Relation:
        return scans.scan_snapshot(granted, snapshot_id, columns=names)

    with runtime.engine.session(data_folders(granted)) as session:
        rows = session.create_table("__fs_newest", newest(session, scan_columns, keys, columns, deletions))
        for batch in session.batches(all_rows(rows) if sample is None else sample_rows(rows, sample), rows=_ROWS):
            _compare_rows(runtime, applied.table, batch, keys, comparison, follows)
        for batch in session.batches(columns_of(rows, keys), rows=_ROWS):
            unmatched.difference_update(map(encode_key, _keys(batch, keys)))
    if follows:
        comparison.pushed += len(unmatched)
    else:
        _note_extra(unmatched, keys, comparison)
    return comparison


def _compare_ahead(
    runtime: Runtime, applied: Applied, view: FeatureView, table: Table, cursor: Cursor, sample: int | None, comparison: OnlineComparison
) -> None:
    """Compare the rows ahead of the watermark, each list as one value; while the source is as the last run read it.

    Of a pushed source, compare the row of each key that holds now.
    """
    name, keys = ahead_of(applied.table), tuple(view.entity.keys)
    if cursor.materialized_through is None:
        return
    unmatched = set(_draw(chain.from_iterable(runtime.online.keys(name)), sample))
    with compute_rows_ahead(runtime, None, applied, view, table, cursor.materialized_through) as computed:
        if computed is None:
            return
        session, query, pushed = computed
        rows = session.create_table("__fs_rows_ahead", query)
        if pushed is not None:
            for batch in session.batches(all_rows(rows) if sample is None else sample_rows(rows, sample), rows=_ROWS):
                _compare_instant(runtime, name, batch, keys, pushed, comparison)
            return
        for batch in session.batches(all_rows(rows) if sample is None else sample_rows(rows, sample), rows=_ROWS):
            _compare_rows(runtime, name, batch, keys, comparison)
        for batch in session.batches(columns_of(rows, keys), rows=_ROWS):
            unmatched.difference_update(map(encode_key, _keys(batch, keys)))
    _note_extra(unmatched, keys, comparison)


def _compare_instant(
    runtime: Runtime, name: str, batch: pa.RecordBatch, keys: Sequence[str], pushed: int, comparison: OnlineComparison
) -> None:
    """Compare the rows that hold now of computed rows ahead and of those online, which may have other events by now."""
    requested, now = _keys(batch, keys), times.now()
    [online] = runtime.online.read([(name, requested)])
    columns = online.columns or tuple(column for column in batch.schema.names if column not in (*keys, *TIMES))
    computed = [Row(0, None, values) for values in zip(*(batch.column(column).to_pylist() for column in columns), strict=True)]
    nobody = Read((), None, [None] * len(requested))
    expected, found = (read_at(nobody, Read(columns, None, list(rows)), now).read.rows for rows in (computed, online.rows))
    comparison.rows += len(requested)
    for key, row, stored in zip(requested, expected, found, strict=True):
        if row is None or stored is None:
            same = row is stored
        else:
            same = row.feature_timestamp == stored.feature_timestamp and all(map(_same, row.values, stored.values))
        if same:
            continue
        named = dict(zip(keys, key, strict=True))
        if online.cursor is None or online.cursor.pushed != pushed:
            comparison.pushed += 1
        elif stored is None:
            comparison.missing += 1
            comparison.note(Difference(named, "missing"))
        else:
            comparison.changed += 1
            comparison.note(Difference(named, "changed", "*", stored.values, None if row is None else row.values))


def _note_extra(unmatched: Iterable[bytes], keys: Sequence[str], comparison: OnlineComparison) -> None:
    for key in sorted(unmatched):
        comparison.extra += 1
        comparison.note(Difference(_decode(key, keys), "extra"))


def _draw(keys: Iterator[bytes], sample: int | None) -> Iterable[bytes]:
    if sample is None:
        return keys
    distinct = sorted(set(keys))
    return random.sample(distinct, min(sample, len(distinct)))


def _keys(batch: pa.RecordBatch, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(batch.column(key).to_pylist() for key in keys), strict=True))


def _decode(encoded: bytes, keys: Sequence[str]) -> dict[str, Any]:
    """The key columns of an encoded key; its bytes if it cannot be decoded."""
    values = decode_key(encoded)
    return {"bytes": encoded.hex()} if values is None or len(values) != len(keys) else dict(zip(keys, values, strict=True))


def _compare_rows(
    runtime: Runtime, table: str, batch: pa.RecordBatch, keys: Sequence[str], comparison: OnlineComparison, follows: bool = False
) -> None:
    """Compare the rows of a batch. `follows`: online rows that are newer than those of the table are those of pushed events."""
    requested = _keys(batch, keys)
    [published] = runtime.online.read([(table, requested)])
    names = [*TIMES, *published.columns] if published.columns else list(TIMES)
    # With a feature of the table that is not online, every row differs.
    names += [name for name in batch.schema.names if name not in (*keys, *names)]
    columns = [_values(batch, name) if name in batch.schema.names else [None] * len(requested) for name in names]
    comparison.rows += len(requested)
    for key, row, values in zip(requested, published.rows, zip(*columns, strict=True), strict=True):
        if row is None:
            comparison.missing += 1
            comparison.note(Difference(dict(zip(keys, key, strict=True)), "missing"))
            continue
        online = [row.feature_timestamp, row.created_timestamp, *row.values]
        if follows and (online[0], online[1] or times.FIRST) > (values[0], values[1] or times.FIRST):
            comparison.pushed += 1
            continue
        if len(online) != len(values):
            comparison.changed += 1
            widths = f"{len(row.values)} values", f"{len(values) - len(TIMES)} values"
            comparison.note(Difference(dict(zip(keys, key, strict=True)), "changed", "*", *widths))
            continue
        # Equal rows encode equally, and encoding takes a tenth of the time of comparing each value.
        if _encode(online) == _encode(values):
            continue
        differing = [at for at, (left, right) in enumerate(zip(online, values, strict=True)) if not _same(left, right)]
        comparison.changed += bool(differing)
        named = dict(zip(keys, key, strict=True))
        for at in differing:
            left, right = (_moment(value) if names[at] in TIMES else value for value in (online[at], values[at]))
            comparison.note(Difference(named, "changed", names[at], left, right))


def _values(batch: pa.RecordBatch, name: str) -> list[Any]:
    """A column as Python values; the two timestamp columns as microseconds."""
    column = batch.column(name)
    values: list[Any] = (column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()) if name in TIMES else column).to_pylist()
    return values


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else times.moment(microseconds)


def _same(left: Any, right: Any) -> bool:
    """Whether two values are equal bit for bit: -0.0 differs from 0.0, but any NaN equals any other."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return _bits(left) == _bits(right) or (math.isnan(left) and math.isnan(right))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)
