"""A scan returns the rows of a snapshot in the snapshot's own schema, whatever happened to the table since."""

import datetime as dt
import decimal
import uuid
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType, LongType, StringType

from featurestore.compiler.relations import Column, IcebergFiles
from featurestore.errors import NotFound, NotYet
from featurestore.lakehouse import scans, tables, writes
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.table import Table
from tests.granting import grant
from tests.lakehouse.data import EVENTS, at, by_id, events, reader, replace_rows, us
from tests.lakehouse.deletes import delete_rows

ROWS = events((1, "2026-01-01", "a"), (2, "2026-01-15", "b"), (3, "2026-02-01", "c"))


def user_table(catalog: Catalog, schema: pa.Schema = EVENTS) -> Table:
    """A table as a user makes one: with pyiceberg alone."""
    catalog.create_namespace_if_not_exists("shop")
    return Table(catalog.create_table("shop.orders", schema))


def current(table: Table) -> int:
    snapshot_id = table.snapshot_id
    assert snapshot_id is not None
    return snapshot_id


def rows_of(found: Any) -> list[dict[str, Any]]:
    return sorted(by_id(found), key=repr)


def test_nothing_written_yet(catalog: Catalog) -> None:
    table = user_table(catalog)
    columns = (Column(1, "k", "BIGINT"), Column(2, "t", "TIMESTAMP WITH TIME ZONE"), Column(3, "v", "VARCHAR"))
    assert scans.scan_snapshot(grant(table), None) == IcebergFiles((), columns)
    assert scans.scan_snapshot(grant(table), None, columns=["v", "k"]) == IcebergFiles((), (columns[2], columns[0]))
    assert scans.read_snapshot(grant(table), None).read_all() == EVENTS.empty_table()


@pytest.mark.parametrize("transform", [None, IdentityTransform()], ids=str)
def test_appends_of_users(both: Catalog, transform: Any) -> None:
    table = user_table(both)
    if transform is not None:
        with table.iceberg.update_spec() as update:
            update.add_field("v", transform, "part")
    table.iceberg.append(ROWS)
    more = events((4, "2026-03-01", "x/y z%"))
    table.iceberg.append(more)
    scanned = scans.scan_snapshot(grant(table), current(table))
    assert isinstance(scanned, IcebergFiles)
    assert rows_of(scanned) == sorted(ROWS.to_pylist() + more.to_pylist(), key=repr)
    assert scanned.rows == 4
    assert scanned.bytes > 0
    first = table.snapshot_ids[0]
    assert rows_of(scans.scan_snapshot(grant(table), first)) == ROWS.to_pylist()


def test_columns_come_in_the_order_asked_for_and_wrong_ones_are_named(catalog: Catalog) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    assert by_id(scans.scan_snapshot(grant(table), current(table), columns=["v", "k"]))[0] == {"v": "a", "k": 1}
    assert scans.read_snapshot(grant(table), current(table), columns=["v", "k"]).schema.names == ["v", "k"]
    with pytest.raises(NotFound, match=r"no column 'kk' in shop\.orders; did you mean 'k'"):
        scans.scan_snapshot(grant(table), current(table), columns=["kk"])
    with pytest.raises(NotFound, match="no snapshot '5'"):
        scans.scan_snapshot(grant(table), 5)
    with pytest.raises(NotFound, match="no snapshot '5'"):
        scans.scan_snapshot(grant(table), 5, schema_id=table.iceberg.schema().schema_id)


def test_rename_and_add_again_keeps_columns_apart(both: Catalog) -> None:
    table = user_table(both)
    table.iceberg.append(ROWS)
    before = current(table)
    with table.iceberg.update_schema() as update:
        update.rename_column("v", "old")
    with table.iceberg.update_schema() as update:
        update.add_column("v", LongType())
    table.iceberg.append(pa.table({"k": [9], "t": [at("2026-04-01")], "old": ["d"], "v": [7]}))
    assert rows_of(scans.scan_snapshot(grant(table), before)) == ROWS.to_pylist()
    now = rows_of(scans.scan_snapshot(grant(table), current(table), columns=["k", "old", "v"]))
    assert now == [{"k": k, "old": old, "v": v} for k, old, v in [(1, "a", None), (2, "b", None), (3, "c", None), (9, "d", 7)]]


def test_wider_types_dropped_columns_and_moved_ones(catalog: Catalog) -> None:
    table = user_table(catalog, pa.schema([("i", pa.int32()), ("f", pa.float32()), ("l", pa.list_(pa.int32())), ("gone", pa.string())]))
    table.iceberg.append(
        pa.table(
            {"i": pa.array([1], pa.int32()), "f": pa.array([0.5], pa.float32()), "l": [[1]], "gone": ["x"]},
            table.iceberg.schema().as_arrow(),
        )
    )
    first = current(table)
    with table.iceberg.update_schema() as update:
        update.update_column("i", LongType())
        update.update_column("f", DoubleType())
        update.update_column(("l", "element"), LongType())
        update.delete_column("gone")
        update.move_first("l")
    table.iceberg.append(pa.table({"l": [[2**40]], "i": [2**40], "f": [1e300]}))
    assert rows_of(scans.scan_snapshot(grant(table), current(table))) == [
        {"l": [2**40], "i": 2**40, "f": 1e300},
        {"l": [1], "i": 1, "f": 0.5},
    ]
    assert rows_of(scans.scan_snapshot(grant(table), first)) == [{"i": 1, "f": 0.5, "l": [1], "gone": "x"}]
    assert tables.arrow_schema(table, first).names == ["i", "f", "l", "gone"]


def test_overwrites_and_deletes_of_users(catalog: Catalog) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    table.iceberg.delete("k == 2")
    assert rows_of(scans.scan_snapshot(grant(table), current(table))) == [ROWS.to_pylist()[0], ROWS.to_pylist()[2]]
    other = events((7, "2026-05-01", "z"))
    table.iceberg.overwrite(other)
    assert rows_of(scans.scan_snapshot(grant(table), current(table))) == other.to_pylist()
    assert rows_of(scans.scan_snapshot(grant(table), table.snapshot_ids[0])) == ROWS.to_pylist()


def test_position_deletes_are_applied(catalog: Catalog) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    delete_rows(table, DataFileContent.POSITION_DELETES, [0, 2])
    scanned = scans.scan_snapshot(grant(table), current(table), columns=["v", "k"])
    assert not isinstance(scanned, IcebergFiles)
    assert scanned.read_all().to_pylist() == [{"v": "b", "k": 2}]
    assert isinstance(scans.scan_snapshot(grant(table), table.snapshot_ids[0]), IcebergFiles)


def test_equality_deletes_say_what_to_do(catalog: Catalog) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    delete_rows(table, DataFileContent.EQUALITY_DELETES, [0])
    with pytest.raises(NotYet, match="compaction"):
        scans.scan_snapshot(grant(table), current(table))


def test_files_without_field_ids_are_read_by_name(catalog: Catalog, tmp_path: Any) -> None:
    table = user_table(catalog)
    pq.write_table(ROWS, tmp_path / "foreign.parquet")
    table.iceberg.add_files([str(tmp_path / "foreign.parquet")])
    scanned = scans.scan_snapshot(grant(table), current(table))
    assert not isinstance(scanned, IcebergFiles)
    assert scanned.read_all().to_pylist() == ROWS.to_pylist()
    table.iceberg.overwrite(ROWS)
    assert isinstance(scans.scan_snapshot(grant(table), current(table)), IcebergFiles)


ALL = {
    "b": (pa.bool_(), True),
    "i": (pa.int32(), -5),
    "l": (pa.int64(), 2**60),
    "f": (pa.float32(), 0.25),
    "d": (pa.float64(), 1e-300),
    "m9": (pa.decimal128(9, 2), decimal.Decimal("-1234567.89")),
    "m18": (pa.decimal128(18, 4), decimal.Decimal("12345678901234.5678")),
    "m38": (pa.decimal128(38, 10), decimal.Decimal("1234567890123456789012345678.0123456789")),
    "s": (pa.string(), "ü'\"\n"),
    "y": (pa.binary(), b"\x00\xff"),
    "day": (pa.date32(), dt.date(1969, 12, 31)),
    "clock": (pa.time64("us"), dt.time(1, 2, 3, 4)),
    "naive": (pa.timestamp("us"), at("1969-12-31T23:59:59.999999").replace(tzinfo=None)),
    "zoned": (pa.timestamp("us", "UTC"), dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)),
    "u": (pa.uuid(), uuid.UUID(int=2**127 + 1)),
    "fixed": (pa.binary(4), b"abcd"),
    "ls": (pa.list_(pa.string()), ["a", None, ""]),
    "ll": (pa.list_(pa.list_(pa.float64())), [[0.5], []]),
    "lz": (pa.list_(pa.timestamp("us", "UTC")), [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]),
    "with space": (pa.int64(), 1),
    "dotted.name": (pa.int64(), 2),
    "1digit-é'": (pa.int64(), 3),
}


@pytest.mark.parametrize("ours", [True, False], ids=["our files", "pyiceberg's files"])
def test_every_type_by_field_id(catalog: Catalog, ours: bool) -> None:
    schema = pa.schema([(name, kind) for name, (kind, _) in ALL.items()])
    rows = pa.table({name: pa.array([value, None], kind) for name, (kind, value) in ALL.items()})
    table = tables.create(catalog, "shop.orders", schema)
    if ours:
        writes.append(table, reader(rows), summary={})
    else:
        table.iceberg.append(rows)
    scanned = scans.scan_snapshot(grant(table), current(table))
    assert isinstance(scanned, IcebergFiles)
    values = {name: value for name, (_, value) in ALL.items()}
    assert rows_of(scanned)[-1] | {"u": None} == values | {"u": None}
    assert str(rows_of(scanned)[-1]["u"]) == str(values["u"])
    assert scans.read_snapshot(grant(table), current(table)).read_all().to_pylist() == rows.to_pylist()


def test_structs_and_maps_matter_only_when_asked_for(catalog: Catalog) -> None:
    kinds = pa.schema([("k", pa.int64()), ("s", pa.struct([("a", pa.int64())])), ("m", pa.map_(pa.string(), pa.int64()))])
    table = user_table(catalog, kinds)
    table.iceberg.append(pa.table({"k": [1], "s": [{"a": 2}], "m": [[("x", 3)]]}, kinds))
    assert by_id(scans.scan_snapshot(grant(table), current(table), columns=["k"])) == [{"k": 1}]
    whole = scans.scan_snapshot(grant(table), current(table))
    assert not isinstance(whole, IcebergFiles)
    assert whole.read_all().to_pylist() == [{"k": 1, "s": {"a": 2}, "m": [("x", 3)]}]
    with table.iceberg.update_schema() as update:
        update.rename_column(("s", "a"), "b")
    table.iceberg.append(pa.table({"k": [2], "s": [{"b": 5}], "m": [None]}, table.iceberg.schema().as_arrow()))
    assert sorted(row["s"]["b"] for row in by_id(scans.scan_snapshot(grant(table), current(table)))) == [2, 5]


def test_names_that_differ_in_case_only_come_as_a_reader(catalog: Catalog) -> None:
    table = user_table(catalog, pa.schema([("A", pa.int64()), ("a", pa.int64())]))
    table.iceberg.append(pa.table({"A": [1], "a": [2]}))
    scanned = scans.scan_snapshot(grant(table), current(table))
    assert not isinstance(scanned, IcebergFiles)
    assert scanned.read_all().to_pylist() == [{"A": 1, "a": 2}]
    assert by_id(scans.scan_snapshot(grant(table), current(table), columns=["a"])) == [{"a": 2}]


@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32()], ids=str)
def test_time_leaves_out_files(catalog: Catalog, kind: pa.DataType) -> None:
    table = user_table(catalog, pa.schema([("t", kind)]))
    for text in ("2026-01-01", "2026-02-01", "2026-03-01"):
        table.iceberg.append(pa.table({"t": pa.array([at(text).replace(tzinfo=None)], pa.timestamp("us")).cast(kind)}))

    def days(lower: str | None, upper: str | None) -> list[int]:
        time = TimeRange("t", us(lower) if lower else None, us(upper) if upper else None)
        return sorted(row["t"].month for row in by_id(scans.scan_snapshot(grant(table), current(table), time=time)))

    assert days("2026-02-01", "2026-02-01") == [2]
    assert days("2026-02-01", None) == [2, 3]
    assert days(None, "2026-02-01T12:00") == [1, 2]
    assert days("2026-03-02", None) == []
    assert days(None, None) == [1, 2, 3]
    # Renamed since, or gone: the old snapshot is still read by its old name.
    old = current(table)
    with table.iceberg.update_schema() as update:
        update.rename_column("t", "moved")
    with table.iceberg.update_schema() as update:
        update.add_column("t", StringType())
    assert [row["t"].month for row in by_id(scans.scan_snapshot(grant(table), old, time=TimeRange("t", us("2026-03-01"))))] == [3]
    with table.iceberg.update_schema() as update:
        update.delete_column("moved")
    assert len(by_id(scans.scan_snapshot(grant(table), old, time=TimeRange("t", us("2026-03-01"))))) == 3


def test_changes_are_the_appended_rows(both: Catalog) -> None:
    table = user_table(both)
    table.iceberg.append(ROWS)
    first = current(table)
    assert rows_of(scans.read_changes(grant(table), None, first).relation) == ROWS.to_pylist()
    nothing = scans.read_changes(grant(table), first, first, columns=["k"])
    assert nothing.appended
    assert by_id(nothing.relation) == []
    for number in range(4, 7):
        table.iceberg.append(events((number, "2026-04-01", "n")))
    changes = scans.read_changes(grant(table), first, current(table), columns=["k"])
    assert changes.appended
    assert rows_of(changes.relation) == [{"k": 4}, {"k": 5}, {"k": 6}]
    part = scans.read_changes(grant(table), first, table.snapshot_ids[2], columns=["k"])
    assert rows_of(part.relation) == [{"k": 4}, {"k": 5}]


@pytest.mark.slow
def test_changes_of_a_partitioned_table_and_over_merged_manifests(catalog: Catalog) -> None:
    table = tables.create(catalog, "features.f", EVENTS, month_of="t", properties={"commit.manifest.min-count-to-merge": "3"})
    made = [writes.append(table, reader(events((n, f"2026-{n + 1:02}-01", "x"))), summary={}) for n in range(9)]
    assert len(table.iceberg.current_snapshot().manifests(table.iceberg.io)) < 4  # type: ignore[union-attr]
    for after in range(8):
        for until in range(after, 9):
            changes = scans.read_changes(grant(table), made[after], made[until] or 0, columns=["k"])
            assert [row["k"] for row in rows_of(changes.relation)] == list(range(after + 1, until + 1))


@pytest.mark.parametrize("change", ["overwrite", "delete", "position delete", "replace"])
def test_changes_that_are_more_than_appends_say_so(catalog: Catalog, change: str) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    first = current(table)
    if change == "overwrite":
        table.iceberg.overwrite(ROWS)
    elif change == "delete":
        table.iceberg.delete("k == 1")
    elif change == "replace":
        replace_rows(catalog, "shop.orders", reader(ROWS), summary={}, tag="x")
        table.iceberg.refresh()
    else:
        delete_rows(table, DataFileContent.POSITION_DELETES, [1])
    middle = current(table)
    table.iceberg.append(events((9, "2026-06-01", "z")))
    changes = scans.read_changes(grant(table), first, current(table))
    assert not changes.appended
    came, went = ([tuple(row.items()) for row in rows_of(part)] for part in (changes.relation, changes.removed))
    gone = {"delete": [1], "position delete": [2]}.get(change, [])
    assert sorted(dict(row)["k"] for row in Counter(came) - Counter(went)) == [9]
    assert sorted(dict(row)["k"] for row in Counter(went) - Counter(came)) == gone
    assert [row["k"] for row in by_id(scans.read_changes(grant(table), middle, current(table)).relation)] == [9]


def test_changes_from_a_snapshot_that_is_no_ancestor_or_gone(catalog: Catalog) -> None:
    table = user_table(catalog)
    for number in range(3):
        table.iceberg.append(events((number, "2026-01-01", "a")))
    first, second, third = table.snapshot_ids
    assert [row["k"] for row in by_id(scans.read_changes(grant(table), second, third).relation)] == [2]
    back = scans.read_changes(grant(table), third, first)
    assert (rows_of(back.relation), sorted(row["k"] for row in rows_of(back.removed))) == ([], [1, 2])
    assert scans.read_changes(grant(table), 12345, third) == scans.Changes(None)
    table.iceberg.maintenance.expire_snapshots().by_id(second).commit()
    over = scans.read_changes(grant(table), first, third)
    assert over.appended
    assert sorted(row["k"] for row in rows_of(over.relation)) == [1, 2]
    assert scans.read_changes(grant(table), second, third) == scans.Changes(None)
