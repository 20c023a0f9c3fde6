"""An append lands completely on the state that it was built on, or leaves nothing behind."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.io import OutputFile
from pyiceberg.io.pyarrow import PyArrowFileIO

from featurestore.compiler.relations import IcebergFiles
from featurestore.errors import CommitConflict, CommitUnknown, OutOfResources, RequestError, TypeMismatch
from featurestore.lakehouse import scans, tables, writes
from featurestore.lakehouse.data_files import DataFiles
from featurestore.lakehouse.row_groups import ROW_GROUP_ROWS
from featurestore.lakehouse.table import Table
from featurestore.lakehouse.type_mapping import arrow_schema
from tests.granting import grant
from tests.lakehouse.data import EVENTS, at, by_id, events, files, reader
from tests.lakehouse.interference import dead_line, open_interfered

LATE = pa.schema([("k", pa.int64()), ("late", pa.float64()), ("none", pa.string())])
ROWS = events((1, "2026-01-01", "a"), (2, "2026-01-31T23:59:59", "b"), (3, "2026-02-01", "c"), (4, "2027-02-01", "d"))


def feature_table(catalog: Catalog, **properties: str) -> Table:
    return tables.create(catalog, "features.f", EVENTS, month_of="t", properties=properties)


def paths(table: Table, snapshot: int | None) -> tuple[str, ...]:
    scanned = scans.scan_snapshot(grant(table), snapshot)
    assert isinstance(scanned, IcebergFiles)
    return scanned.paths


def test_one_file_a_month_with_summary_and_properties_in_one_commit(both: Catalog) -> None:
    table = feature_table(both)
    before = table.metadata_location
    snapshot = writes.append(table, reader(ROWS, 1), summary={"featurestore.run-id": "7"}, properties={"w": "9"}, month_of="t")
    fresh = tables.load(both, "features.f")
    assert sorted(by_id(scans.scan_snapshot(grant(fresh), snapshot)), key=lambda row: row["k"]) == ROWS.to_pylist()
    assert [pq.read_table(path)["k"].to_pylist() for path in paths(fresh, snapshot)] == [[1, 2], [3], [4]]
    assert fresh.properties["w"] == table.properties["w"] == "9"
    assert tables.summary(fresh, fresh.snapshot_ids[0])["featurestore.run-id"] == "7"
    assert [entry.metadata_file for entry in fresh.iceberg.metadata.metadata_log] == [before]
    assert {task.file.partition[0] for task in fresh.iceberg.scan().plan_files()} == {672, 673, 685}


def test_a_dictionary_is_for_values_that_repeat(catalog: Catalog) -> None:
    count = ROW_GROUP_ROWS + 5
    lists = pa.array([[["x"]]] * count, pa.list_(pa.list_(pa.string())))
    rows = pa.table({"own": range(count), "few": [n % 7 for n in range(count)], "lists": lists})
    table = tables.create(catalog, "features.f", rows.schema)
    snapshot = writes.append(table, reader(rows, 1000), summary={})
    (path,) = paths(table, snapshot)
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(i) for i in range(2)]
    dictionaries = [[column.has_dictionary_page for column in map(group.column, range(3))] for group in groups]
    assert dictionaries == [[False, True, True], [False, True, True]]
    assert pq.read_table(path).equals(rows)


def test_a_quick_write_leaves_distinct_floats_uncompressed(catalog: Catalog) -> None:
    count = 10_000
    values = np.random.default_rng(1).random(count)
    rows = pa.table(
        {"distinct": values, "few": np.round(values, 1), "single": values.astype(np.float32), "id": [f"id-{n}" for n in range(count)]}
    ).append_column("l", pa.array([["x"]] * count))
    codecs = []
    for quick in (False, True):
        table = tables.create(catalog, f"features.quick_{quick}".lower(), rows.schema)
        (path,) = paths(table, writes.append_retrying(table, rows.to_reader(), quick=quick))
        group = pq.read_metadata(path).row_group(0)
        codecs.append([group.column(index).compression for index in range(5)])
        assert pq.read_table(path).cast(rows.schema).equals(rows)
    assert codecs == [["ZSTD"] * 5, ["UNCOMPRESSED", "ZSTD", "UNCOMPRESSED", "ZSTD", "ZSTD"]]


def test_a_quick_write_requires_columns_until_one_has_a_null(catalog: Catalog) -> None:
    """A required column cannot hold a NULL, so the first group with one begins a second file, which requires nothing."""
    groups = [
        pa.table({"k": range(ROW_GROUP_ROWS), "late": np.arange(float(ROW_GROUP_ROWS)), "none": pa.nulls(ROW_GROUP_ROWS, pa.string())}),
        pa.table({"k": range(ROW_GROUP_ROWS), "late": [None] * ROW_GROUP_ROWS, "none": ["a"] * ROW_GROUP_ROWS}, schema=LATE),
        pa.table({"k": [1, None], "late": [1.0, None], "none": ["a", None]}, schema=LATE),
    ]
    rows = pa.concat_tables(groups)
    table = tables.create(catalog, "features.late", rows.schema)
    snapshot = writes.append_retrying(table, rows.to_reader(), quick=True)
    written = paths(table, snapshot)
    nullable = {pq.read_metadata(path).num_rows: [field.nullable for field in pq.read_schema(path)] for path in written}
    assert nullable == {ROW_GROUP_ROWS: [False, False, True], ROW_GROUP_ROWS + 2: [True, True, True]}
    (file,) = (path for path in written if pq.read_metadata(path).num_rows == ROW_GROUP_ROWS)
    assert [field.metadata[b"PARQUET:field_id"] for field in pq.read_schema(file)] == [b"1", b"2", b"3"]
    assert table.iceberg.scan().to_arrow().equals(rows)
    listed = [path.removeprefix("file://") for path in written]
    with duckdb.connect() as session:
        counted = session.execute('SELECT count(k), count(late), count("none") FROM read_parquet($1)', [listed]).fetchall()
    assert counted == [tuple(pc.count(rows.column(name)).as_py() for name in rows.column_names)]


def test_a_quick_write_of_two_streams_stores_dictionaries_as_their_values(catalog: Catalog) -> None:
    rows = pa.table({"number": range(10), "text": ["a", None] * 5})
    table = tables.create(catalog, "features.halves", rows.schema)
    encoded = rows.set_column(1, "text", rows.column("text").dictionary_encode())
    halves = [encoded.slice(0, 5).to_reader(), encoded.slice(5).to_reader()]
    written = paths(table, writes.append_retrying(table, halves, quick=True))
    assert len(written) == 2
    assert [pq.read_schema(path).field("text").type for path in written] == [pa.string()] * 2
    assert table.iceberg.scan().to_arrow().sort_by("number").to_pylist() == rows.to_pylist()


def test_a_stream_that_fails_ends_the_other_one_and_leaves_no_file(catalog: Catalog) -> None:
    rows = pa.table({"number": pa.array(range(10), pa.int32())})
    table = tables.create(catalog, "features.failing", rows.schema)
    unfitting = pa.table({"number": pa.array([2**40])})
    many, numbers = 1_000_000, itertools.count()
    endless = pa.RecordBatchReader.from_batches(rows.schema, (rows.to_batches()[0] for number in numbers if number < many))
    with pytest.raises(TypeMismatch, match="column 'number'"):
        writes.append_retrying(table, [endless, unfitting.to_reader()], quick=True)
    assert next(numbers) < many
    assert tables.load(catalog, table.name).snapshot_id is None
    location = table.iceberg.location().removeprefix("file://")
    assert not list(Path(location).rglob("*.parquet"))


def test_the_files_are_what_iceberg_and_a_fast_reader_want(catalog: Catalog) -> None:
    schema = pa.schema([("k", pa.int64()), ("l", pa.list_(pa.list_(pa.string())))])
    table = tables.create(catalog, "features.f", schema)
    count = ROW_GROUP_ROWS + 5
    rows = pa.table({"k": range(count), "l": pa.array([[["x"]]] * count, schema.field("l").type)})
    snapshot = writes.append(table, reader(rows, 1000), summary={})
    (path,) = paths(table, snapshot)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 5]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    outer = pq.read_schema(path).field("l")
    inner = outer.type.value_field
    ids = [field.metadata[b"PARQUET:field_id"] for field in (outer, inner, inner.type.value_field)]
    assert ids == [b"2", b"3", b"4"]
    (task,) = table.iceberg.scan().plan_files()
    assert task.file.lower_bounds[1] == (0).to_bytes(8, "little")
    assert task.file.upper_bounds[1] == (count - 1).to_bytes(8, "little")
    assert task.file.record_count == count


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 20), max_size=6), months=st.lists(st.integers(1, 3), min_size=20, max_size=20))
def test_files_do_not_depend_on_how_rows_are_batched(tmp_path_factory: pytest.TempPathFactory, cuts: list[int], months: list[int]) -> None:
    rows = events(*((k, f"2026-{month:02}-01", "x") for k, month in enumerate(sorted(months))))
    bounds = [0, *sorted(cuts), 20]
    batches = [batch for a, b in itertools.pairwise(bounds) for batch in rows.slice(a, b - a).to_batches()]
    table = _unwritten(tmp_path_factory.mktemp("w"))
    schema = arrow_schema(table.iceberg.schema(), ids=True)
    contents = []
    for given_batches in (rows.to_batches(), batches):
        written = DataFiles(table, schema).write((batch.cast(schema) for batch in given_batches), "t")
        contents.append([Path(path).read_bytes() for path in written.paths])
        assert written.rows == 20
    assert contents[0] == contents[1]
    assert len(contents[0]) == len(set(months))


def _unwritten(folder: Path) -> Table:
    with load_catalog("memory", type="in-memory", warehouse=str(folder)) as catalog:
        return tables.create(catalog, "features.f", EVENTS, month_of="t")


def test_rows_are_streamed(catalog: Catalog) -> None:
    table = tables.create(catalog, "features.f", pa.schema([("x", pa.float64())]))
    batch = pa.record_batch({"x": pa.array(range(100_000), pa.float64())})
    in_memory: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(40):
            in_memory.append(pa.total_allocated_bytes())
            yield batch

    writes.append(table, pa.RecordBatchReader.from_batches(batch.schema, batches()), summary={})
    assert max(in_memory) - in_memory[0] < 10 * batch.nbytes
    assert table.iceberg.scan().count() == 4_000_000


def test_no_rows_make_no_snapshot_but_properties_count(both: Catalog) -> None:
    table, stale = feature_table(both), tables.load(both, "features.f")
    assert writes.append(table, reader(ROWS.slice(0, 0)), summary={}, properties={"w": "1"}) is None
    assert table.snapshot_ids == []
    assert tables.load(both, "features.f").properties["w"] == "1"
    location = table.metadata_location
    assert writes.append(table, reader(ROWS.slice(0, 0)), summary={}, properties={"w": "1"}) is None
    assert tables.load(both, "features.f").metadata_location == location
    with pytest.raises(CommitConflict):
        writes.append(stale, reader(ROWS.slice(0, 0)), summary={}, properties={"w": "2"})


def test_columns_are_taken_by_name_and_values_fitted(catalog: Catalog) -> None:
    schema = pa.schema(
        [("i", pa.int32()), ("d", pa.decimal128(10, 2)), ("t", pa.timestamp("us", "UTC")), ("s", pa.string()), ("n", pa.float64())]
    )
    table = tables.create(catalog, "features.f", schema)
    rows = {
        "n": pa.nulls(1),
        "s": pa.array(["x"]).dictionary_encode(),
        "t": pa.array([1_999], pa.timestamp("ns")),
        "d": pa.array([7], pa.int64()),
        "i": pa.array([5], pa.int64()),
    }
    writes.append(table, reader(rows), summary={})
    assert table.iceberg.scan().to_arrow().to_pylist() == [{"i": 5, "d": 7, "t": at("1970-01-01T00:00:00.000001"), "s": "x", "n": None}]


@pytest.mark.parametrize(
    "rows, error, message",
    [
        ({"k": [1], "t": [at("2026-01-01")]}, RequestError, "lack 'v'"),
        ({"k": [1], "t": [at("2026-01-01")], "v": ["a"], "w": [1]}, RequestError, "add 'w'"),
        ({"k": ["1"], "t": [at("2026-01-01")], "v": ["a"]}, TypeMismatch, "column 'k' of features.f is int64, and string does not fit"),
        ({"k": [1.0], "t": [at("2026-01-01")], "v": ["a"]}, TypeMismatch, "column 'k' of features.f is int64, and double"),
        ({"k": pa.array([2**63], pa.uint64()), "t": [at("2026-01-01")], "v": ["a"]}, TypeMismatch, "column 'k'.*uint64 does not fit: "),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_nothing(
    catalog: Catalog, rows: dict[str, Any], error: type[Exception], message: str
) -> None:
    table = feature_table(catalog)
    with pytest.raises(error, match=message):
        writes.append(table, reader(rows), summary={})
    assert files(table) == set()
    assert tables.load(catalog, "features.f").metadata_location == table.metadata_location


def test_a_source_that_breaks_midway_leaves_nothing(catalog: Catalog) -> None:
    table = feature_table(catalog)
    seen: list[set[str]] = []

    def batches() -> Iterator[pa.RecordBatch]:
        yield from ROWS.to_batches()
        seen.append(files(table))
        raise ArithmeticError("the query failed")

    with pytest.raises(ArithmeticError, match="the query failed"):
        writes.append(table, pa.RecordBatchReader.from_batches(EVENTS, batches()), summary={})
    assert len(seen[0]) == 3
    assert files(table) == set()


class FullDisk(PyArrowFileIO):
    """Data files go to the device that is always full; metadata is written as ever."""

    def new_output(self, location: str) -> Any:
        return super().new_output("/dev/full" if location.endswith(".parquet") else location)

    def delete(self, location: str | Any) -> None:
        assert str(location).endswith(".parquet")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_full_disk_says_so(catalog: Catalog) -> None:
    table = feature_table(catalog)
    table.iceberg.io = FullDisk(table.iceberg.io.properties)
    assert isinstance(table.iceberg.io.new_output("x"), OutputFile)
    with pytest.raises(OutOfResources, match="no space left"):
        writes.append(table, reader(ROWS), summary={})
    assert tables.load(catalog, "features.f").snapshot_ids == []


def test_a_stale_handle_loses_and_leaves_nothing(both: Catalog) -> None:
    table, stale = feature_table(both), tables.load(both, "features.f")
    writes.append(table, reader(ROWS), summary={})
    before = files(table), files(table, "metadata")
    with pytest.raises(CommitConflict, match="another writer"):
        writes.append(stale, reader(ROWS), summary={})
    assert (files(table), files(table, "metadata")) == before
    assert len(tables.load(both, "features.f").snapshot_ids) == 1


def test_tags_and_other_properties_do_not_disturb_an_append(both: Catalog) -> None:
    table = feature_table(both)
    first = writes.append(table, reader(ROWS), summary={})
    stale = tables.load(both, "features.f")
    assert first is not None
    with table.iceberg.manage_snapshots() as manage:
        manage.create_tag(first, "pinned")
    tables.set_properties(table, {"featurestore.description": "new words"})
    assert writes.append(stale, reader(ROWS), summary={}, properties={"w": "1"}) is not None
    fresh = tables.load(both, "features.f")
    assert (fresh.properties["featurestore.description"], fresh.properties["w"], "pinned" in fresh.iceberg.refs()) == (
        "new words",
        "1",
        True,
    )


def test_the_lost_race_inside_of_the_commit(both: Catalog) -> None:
    feature_table(both)
    with open_interfered(both) as slow:
        table = tables.load(slow, "features.f")
        slow.before = lambda: writes.append(tables.load(both, "features.f"), reader(ROWS), summary={"by": "other"})
        with pytest.raises(CommitConflict):
            writes.append(table, reader(ROWS), summary={"by": "slow"})
    fresh = tables.load(both, "features.f")
    assert [tables.summary(fresh, found)["by"] for found in fresh.snapshot_ids] == ["other"]
    assert len(files(fresh)) == 3


def test_a_commit_whose_answer_is_lost_has_landed(catalog: Catalog) -> None:
    feature_table(catalog)
    with open_interfered(catalog) as slow:
        table = tables.load(slow, "features.f")
        slow.after = dead_line
        snapshot = writes.append(table, reader(ROWS), summary={})
    assert tables.load(catalog, "features.f").snapshot_ids == [snapshot]
    assert len(files(table)) == 3


def test_a_commit_of_unknown_outcome_keeps_the_files(catalog: Catalog) -> None:
    feature_table(catalog)
    with open_interfered(catalog) as dead:
        table = tables.load(dead, "features.f")
        dead.before = dead.die
        with pytest.raises(CommitUnknown, match=r"whether the commit to features.f landed is not known.*Run the same again"):
            writes.append(table, reader(ROWS), summary={})
    assert len(files(table)) == 3
    assert tables.load(catalog, "features.f").snapshot_ids == []


def test_a_commit_that_was_lost_on_its_way_is_sent_again(both: Catalog) -> None:
    feature_table(both)
    with open_interfered(both) as shaky:
        table = tables.load(shaky, "features.f")
        shaky.before = dead_line
        snapshot = writes.append(table, reader(ROWS), summary={})
    fresh = tables.load(both, "features.f")
    assert fresh.snapshot_ids == [snapshot]
    assert len(files(fresh)) == 3
    assert fresh.iceberg.scan().count() == ROWS.num_rows


def test_retrying_appends_come_through(both: Catalog) -> None:
    feature_table(both)
    with open_interfered(both) as slow:
        slow.before = lambda: writes.append(tables.load(both, "features.f"), reader(ROWS), summary={})
        snapshot = writes.append_retrying(tables.load(slow, "features.f"), reader(ROWS), summary={"n": "2"})
    fresh = tables.load(both, "features.f")
    assert fresh.snapshot_id == snapshot
    assert fresh.iceberg.scan().count() == 8
    assert writes.append_retrying(tables.load(both, "features.f"), reader(ROWS.slice(0, 0))) is None


def test_a_table_that_is_partitioned_otherwise_is_refused(catalog: Catalog) -> None:
    table = tables.create(catalog, "shop.orders", EVENTS)
    with table.iceberg.update_spec() as update:
        update.add_identity("v")
    with pytest.raises(RequestError, match="partitioned by month"):
        writes.append(table, reader(ROWS), summary={})
