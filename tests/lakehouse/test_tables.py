"""Tables by name: created, found, missing with near misses, and changed by compare-and-swap."""

import datetime as dt
import decimal
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from sqlalchemy import create_engine, make_url, text

from featurestore.errors import CommitConflict, Conflict, NotFound, NotReady, RequestError, TypeMismatch
from featurestore.lakehouse import tables, type_mapping, writes
from featurestore.lakehouse.catalog import open_catalog
from featurestore.settings import Settings
from tests.lakehouse import postgres
from tests.lakehouse.data import EVENTS, at, events, reader


def test_create_makes_all_columns_optional_and_partitions_by_month(both: Catalog) -> None:
    schema = pa.schema([pa.field("k", pa.int64(), nullable=False), pa.field("t", pa.timestamp("ns", "Europe/Berlin"), nullable=False)])
    table = tables.create(both, "features.orders_v1", schema, month_of="t", properties={"featurestore.x": "1"})
    assert [field.required for field in table.iceberg.schema().fields] == [False, False]
    assert [str(field.transform) for field in table.iceberg.spec().fields] == ["month"]
    assert table.properties["featurestore.x"] == "1"
    assert table.iceberg.format_version == 2
    assert tables.arrow_schema(table) == pa.schema([("k", pa.int64()), ("t", pa.timestamp("us", "UTC"))])
    assert table.snapshot_id is None
    assert tables.exists(both, "features.orders_v1")


def test_create_twice(catalog: Catalog) -> None:
    tables.create(catalog, "features.a", EVENTS)
    with pytest.raises(Conflict, match=r"features\.a exists"):
        tables.create(catalog, "features.a", EVENTS)


def test_a_table_is_created_once_and_then_loaded(catalog: Catalog) -> None:
    table, created = tables.load_or_create(catalog, "features.a", EVENTS, properties={"by": "first"})
    again, created_again = tables.load_or_create(catalog, "features.a", EVENTS, properties={"by": "second"})
    assert (created, created_again, table.uuid) == (True, False, again.uuid)
    assert again.properties["by"] == tables.create_if_absent(catalog, "features.a", EVENTS).properties["by"] == "first"


@pytest.mark.parametrize("dropped", [False, True])
def test_another_process_that_creates_the_table_first(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, dropped: bool) -> None:
    create_table = catalog.create_table

    def create_second(identifier: str, *args: Any, **options: Any) -> Any:
        create_table(identifier, EVENTS, properties={"by": "another"})
        try:
            return create_table(identifier, *args, **options)
        finally:
            if dropped:
                catalog.drop_table(identifier)

    monkeypatch.setattr(catalog, "create_table", create_second)
    if dropped:
        with pytest.raises(CommitConflict, match=r"created features\.a and dropped it again"):
            tables.load_or_create(catalog, "features.a", EVENTS)
        return
    table, created = tables.load_or_create(catalog, "features.a", EVENTS)
    assert (table.properties["by"], created) == ("another", False)


def test_create_names_the_wrong_column(catalog: Catalog) -> None:
    with pytest.raises(NotFound, match="did you mean 't'"):
        tables.create(catalog, "features.a", pa.schema([("t", pa.timestamp("us"))]), month_of="tt")
    with pytest.raises(TypeMismatch, match="'span'"):
        tables.create(catalog, "features.a", pa.schema([("span", pa.duration("us"))]))
    with pytest.raises(RequestError, match="'x' appears twice"):
        tables.create(catalog, "features.a", pa.schema([("x", pa.int64()), ("x", pa.int32())]))


@pytest.mark.parametrize("asked", ["shop.order", "orders"])
def test_missing_table_offers_the_nearest(both: Catalog, asked: str) -> None:
    tables.create(both, "shop.orders", EVENTS)
    with pytest.raises(NotFound, match=r"did you mean 'shop\.orders'"):
        tables.load(both, asked)
    assert not tables.exists(both, asked)


def test_missing_namespace(both: Catalog) -> None:
    with pytest.raises(NotFound, match="there are none"):
        tables.load(both, "nowhere.orders")
    assert tables.list_tables(both, "nowhere") == []


def test_metadata_files_stay_few(catalog: Catalog) -> None:
    table = tables.create(catalog, "features.a", EVENTS)
    for number in range(30):
        tables.set_properties(table, {"n": str(number)})
    assert len(table.iceberg.metadata.metadata_log) == 20


def test_properties_are_swapped_only_if_unchanged(both: Catalog) -> None:
    table, stale = tables.create(both, "features.a", EVENTS, properties={"w": "0"}), tables.load(both, "features.a")
    tables.set_properties(table, {"w": "1"})
    with pytest.raises(CommitConflict):
        tables.set_properties(stale, {"w": "2"})
    tables.set_properties(stale, {"other": "3"})
    fresh = tables.load(both, "features.a")
    assert (fresh.properties["w"], fresh.properties["other"]) == ("1", "3")
    before = fresh.metadata_location
    tables.set_properties(fresh, {"w": "1"})
    assert tables.load(both, "features.a").metadata_location == before


def test_properties_conflict_with_a_new_snapshot(catalog: Catalog) -> None:
    table, stale = tables.create(catalog, "features.a", EVENTS), tables.load(catalog, "features.a")
    writes.append(table, reader(events((1, "2026-01-01", "a"))), summary={})
    with pytest.raises(CommitConflict):
        tables.set_properties(stale, {"w": "2"})


def test_snapshots_and_their_summaries(catalog: Catalog) -> None:
    table = tables.create(catalog, "features.a", EVENTS)
    made = [writes.append(table, reader(events((n, "2026-01-01", "a"))), summary={"n": str(n)}) for n in range(3)]
    assert table.snapshot_ids == made
    assert table.snapshot_id == made[-1]
    assert [tables.summary(table, found)["n"] for found in table.snapshot_ids] == ["0", "1", "2"]
    assert tables.summary(table, table.snapshot_ids[0])["operation"] == "append"
    with pytest.raises(NotFound, match="no snapshot '17'"):
        tables.arrow_schema(table, 17)


VALUES = {
    pa.bool_(): True,
    pa.int8(): -1,
    pa.uint8(): 255,
    pa.int32(): 2**31 - 1,
    pa.uint32(): 2**32 - 1,
    pa.int64(): -(2**63),
    pa.uint64(): 2**64 - 1,
    pa.float32(): 0.5,
    pa.float64(): 1e300,
    pa.decimal128(9, 2): decimal.Decimal("1234567.89"),
    pa.decimal128(38, 10): decimal.Decimal("-1.0000000001"),
    pa.string(): "ü",
    pa.large_string(): "x",
    pa.string_view(): "view",
    pa.dictionary(pa.int8(), pa.string()): "word",
    pa.binary(): b"\x00\xff",
    pa.binary(4): b"abcd",
    pa.date32(): dt.date(1969, 12, 31),
    pa.time64("us"): dt.time(23, 59, 59, 999_999),
    pa.timestamp("s"): at("1969-12-31T23:59:59").replace(tzinfo=None),
    pa.timestamp("us"): at("2026-01-01T00:00:00.000001").replace(tzinfo=None),
    pa.timestamp("us", "UTC"): dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC),
    pa.uuid(): uuid.UUID(int=7),
    pa.list_(pa.int32()): [1, None],
    pa.list_(pa.list_(pa.timestamp("us", "UTC"))): [[dt.datetime(2026, 1, 1, tzinfo=dt.UTC)], []],
    pa.large_list(pa.large_string()): ["a"],
    pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))]): {"a": 1, "b": ["x"]},
    pa.map_(pa.string(), pa.int64()): [("a", 1)],
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
def test_every_type_comes_back(catalog: Catalog, kind: pa.DataType) -> None:
    value = VALUES[kind]
    given = pa.table({"x": pa.array([value, None], kind)})
    table = tables.create(catalog, "types.t", given.schema)
    writes.append(table, reader(given), summary={})
    rows = table.iceberg.scan().to_arrow()
    assert rows["x"].to_pylist() == [value, None]
    assert type_mapping.iceberg_schema(tables.arrow_schema(table)).as_struct() == table.iceberg.schema().as_struct()


def metadata_files(catalog: Catalog) -> list[str]:
    """The metadata files of all tables, also of those that never were."""
    return [path.name for path in Path(catalog.properties["warehouse"]).rglob("*.metadata.json")]


def test_a_creation_that_another_was_before_leaves_no_file(both: Catalog) -> None:
    made = tables.create(both, "features.a", EVENTS)
    with pytest.raises(Conflict):
        tables.create(both, "features.a", EVENTS)
    assert metadata_files(both) == [made.metadata_location.rpartition("/")[2]]


def test_a_creation_that_a_local_catalog_could_not_write_leaves_no_file(tmp_path: Path) -> None:
    database = tmp_path / "catalog.db"
    settings = Settings(home=tmp_path / "home", catalog={"type": "sql", "uri": f"sqlite:///{database}?timeout=0.1"})
    with closing(open_catalog(settings)) as catalog, closing(sqlite3.connect(database)) as other:
        tables.create_namespace(catalog, "features")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(NotReady, match=r"creat(e table|ing) features\.a"):
            tables.create(catalog, "features.a", EVENTS)
        assert metadata_files(catalog) == []
        other.rollback()
        tables.create(catalog, "features.a", EVENTS)
        assert len(metadata_files(catalog)) == 1


def test_a_creation_that_a_server_may_still_carry_out_keeps_its_file(tmp_path: Path, postgres_address: str) -> None:
    with postgres.schema(postgres_address) as uri:
        address = make_url(uri)
        options = f"{address.query.get('options', '')} -c lock_timeout=100"
        impatient = address.update_query_dict({"options": options}).render_as_string(hide_password=False)
        with closing(open_catalog(Settings(home=tmp_path / "home", catalog={"type": "sql", "uri": impatient}))) as catalog:
            tables.create_namespace(catalog, "features")
            with create_engine(uri).connect() as other:
                other.execute(text("LOCK TABLE iceberg_tables IN SHARE MODE"))
                with pytest.raises(NotReady, match=r"creat(e table|ing) features\.a"):
                    tables.create(catalog, "features.a", EVENTS)
            assert len(metadata_files(catalog)) == 1
