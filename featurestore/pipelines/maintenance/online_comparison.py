"""What the online store holds otherwise than the feature tables, row by row and bit by bit."""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from struct import Struct
from typing import Any

import msgspec
import pyarrow as pa

from featurestore.compiler.diff import DELETED
from featurestore.compiler.expressions import quoted
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Relation
from featurestore.errors import CommitConflict, Conflict
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.folders import data_folders
from featurestore.lakehouse.tables import Table
from featurestore.online.keys import decode_key, encode_key
from featurestore.online.store import Cursor
from featurestore.pipelines.materialization.publish import newest
from featurestore.records import feature_table, stored_definition
from featurestore.records.definitions import Applied
from featurestore.records.runtime import Runtime
from featurestore.values import times

ATTEMPTS = 4
"""How often a comparison begins anew when the table is published meanwhile."""
LISTED = 1000
"""So many differences of a table are listed; all are counted."""
TIMES = ("feature_timestamp", "created_timestamp")
_ROWS = 5_000
_NEWEST = "__fs_newest"
_bits = Struct(">d").pack
_encode = msgspec.msgpack.Encoder().encode


@dataclass
class Comparison:
    """What one version of a view holds online, against its table at the snapshot that the online store says it holds.

    `rows` were compared. `missing` of them are not online, `changed` differ in a value or a time, and `extra` rows online are not in the
    table. `differences` lists up to LISTED: key, what (missing, extra, changed), and for changed ones feature, online and table.
    """

    view: str
    table: str
    snapshot_id: int | None
    rows: int = 0
    missing: int = 0
    changed: int = 0
    extra: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether no difference was found."""
        return not (self.missing or self.changed or self.extra)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, the snapshot id as text."""
        return {**self.__dict__, "snapshot_id": None if self.snapshot_id is None else str(self.snapshot_id), "same": self.same}

    def note(self, key: dict[str, Any], what: str, **values: Any) -> None:
        """List a difference, if there is room."""
        if len(self.differences) < LISTED:
            self.differences.append({"key": key, "what": what, **values})


def compare_views(runtime: Runtime, versions: Iterable[Applied], sample: int | None) -> list[Comparison]:
    """Compare each version, all rows of it or `sample` of them, drawn anew each time.

    Raises: CommitConflict when a table is published all the time; Conflict when it does not have the snapshot that is online.
    """
    return [_compare(runtime, applied, sample) for applied in versions]


def _compare(runtime: Runtime, applied: Applied, sample: int | None) -> Comparison:
    view = stored_definition.checked_view(applied.name, applied.version, applied.document, applied.columns)
    for _ in range(ATTEMPTS):
        table = tables.load(runtime.catalog, runtime.features_table(applied.table))
        held = runtime.online.cursor(applied.table)
        if held is None and feature_table.state(table.properties).through is None:
            return Comparison(applied.name, applied.table, None)
        found = _compared(runtime, applied, view, table, held, sample)
        if runtime.online.cursor(applied.table) == held:
            return found
    raise CommitConflict(f"'{applied.table}' was published each time it was compared; try again", table=applied.table)


def _compared(runtime: Runtime, applied: Applied, view: FeatureView, table: Table, held: Cursor | None, sample: int | None) -> Comparison:
    """A table that is not online is compared at its current snapshot: all its rows are missing."""
    snapshot_id = tables.current_snapshot_id(table) if held is None else held.snapshot_id
    if snapshot_id is not None and snapshot_id not in tables.snapshot_ids(table):
        raise Conflict(
            f"the online store holds {applied.table} at snapshot {snapshot_id}, which the table does not have; featurestore publish brings"
            " it to the current one",
            table=applied.table,
            snapshot_id=str(snapshot_id),
        )
    found = Comparison(applied.name, applied.table, snapshot_id)
    columns, keys = list(applied.columns), tuple(view.entity.keys)
    deletions = snapshot_id is not None and DELETED in tables.schema_of(table, snapshot_id).column_names
    strays = set(_drawn(chain.from_iterable(runtime.online.keys(applied.table)), sample))

    def whole(wanted: Sequence[str]) -> Relation:
        return scans.scan(table, snapshot_id, columns=wanted)

    with runtime.engine.session(data_folders(table)) as session:
        session.run(f"CREATE TEMP TABLE {_NEWEST} AS {newest(session, whole, keys, columns, deletions)}")
        drawn = "" if sample is None else f" USING SAMPLE reservoir({sample} ROWS)"
        for batch in session.batches(f"SELECT * FROM {_NEWEST}{drawn}", rows=_ROWS):
            _compare_rows(runtime, applied.table, batch, keys, found)
        for batch in session.batches(f"SELECT {', '.join(map(quoted, keys))} FROM {_NEWEST}", rows=_ROWS):
            strays.difference_update(map(encode_key, _keys(batch, keys)))
    for stray in sorted(strays):
        found.extra += 1
        found.note(_named(stray, keys), "extra")
    return found


def _drawn(keys: Iterator[bytes], sample: int | None) -> Iterable[bytes]:
    if sample is None:
        return keys
    known = sorted(set(keys))
    return random.sample(known, min(sample, len(known)))


def _keys(batch: pa.RecordBatch, keys: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(batch.column(key).to_pylist() for key in keys), strict=True))


def _named(encoded: bytes, keys: Sequence[str]) -> dict[str, Any]:
    """The key columns of an encoded key; where it does not tell them, its bytes."""
    values = decode_key(encoded)
    return {"bytes": encoded.hex()} if values is None or len(values) != len(keys) else dict(zip(keys, values, strict=True))


def _compare_rows(runtime: Runtime, table: str, batch: pa.RecordBatch, keys: Sequence[str], found: Comparison) -> None:
    wanted = _keys(batch, keys)
    [read] = runtime.online.read([(table, wanted)])
    names = [*TIMES, *read.columns] if read.columns else list(TIMES)
    # A feature of the table that is not online makes every row another one.
    names += [name for name in batch.schema.names if name not in (*keys, *names)]
    columns = [_values(batch, name) if name in batch.schema.names else [None] * len(wanted) for name in names]
    found.rows += len(wanted)
    for key, row, values in zip(wanted, read.rows, zip(*columns, strict=True), strict=True):
        if row is None:
            found.missing += 1
            found.note(dict(zip(keys, key, strict=True)), "missing")
            continue
        online = [row.feature_timestamp, row.created_timestamp, *row.values]
        if len(online) != len(values):
            found.changed += 1
            widths = {"online": f"{len(row.values)} values", "table": f"{len(values) - len(TIMES)} values"}
            found.note(dict(zip(keys, key, strict=True)), "changed", feature="*", **widths)
            continue
        # What is the same looks the same when it is written down, which takes a tenth of looking at each value.
        if _encode(online) == _encode(values):
            continue
        differing = [at for at, (one, other) in enumerate(zip(online, values, strict=True)) if not _same(one, other)]
        found.changed += bool(differing)
        named = dict(zip(keys, key, strict=True))
        for at in differing:
            one, other = (_moment(value) if names[at] in TIMES else value for value in (online[at], values[at]))
            found.note(named, "changed", feature=names[at], online=one, table=other)


def _values(batch: pa.RecordBatch, name: str) -> list[Any]:
    """A column as Python values, both times of a row as microseconds."""
    column = batch.column(name)
    values: list[Any] = (column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()) if name in TIMES else column).to_pylist()
    return values


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else times.moment(microseconds)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same, bit for bit: -0.0 is not 0.0. One NaN is as good as another."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return _bits(one) == _bits(other) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
