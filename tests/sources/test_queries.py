"""User queries run without access to files, over tables that can be read several times."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot
from pyarrow.dataset import Dataset

from featurestore import Entity, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.lakehouse.datasets import SnapshotStream, open_snapshot
from featurestore.sources.query_rows import TableAt, open_query
from tests.granting import grant

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with FeatureStore(settings=Settings(home=tmp_path / "home")) as store:
        store.catalog.create_namespace("raw")
        times = pa.array([START + timedelta(days=day) for day in range(4)], pa.timestamp("us", "UTC"))
        rows = pa.table({"k": [1, 2, 1, 2], "at": times, "v": ["a", "b", "c", "d"], "old": [1.0, 2.0, 3.0, 4.0]})
        store.catalog.create_table("raw.events", schema=rows.schema).append(rows)
        yield store


def rows(store: FeatureStore, sql: str) -> list[dict[str, object]]:
    parts = store._runtime
    table = tables.load(parts.catalog, "raw.events")
    at = {"raw.events": TableAt(grant(table), table.snapshot_id, None)} if "events" in sql else {}
    with open_query(parts, sqlglot.parse_one(sql, read="duckdb"), at, "the query") as found:
        return list(found.read_all().to_pylist())


def rename(store: FeatureStore) -> None:
    """A column's name goes to another one: the files have both under names that are not theirs any more."""
    with store.catalog.load_table("raw.events").update_schema() as update:
        update.rename_column("v", "w")
    with store.catalog.load_table("raw.events").update_schema() as update:
        update.rename_column("old", "v")
    more = pa.table({"k": [3], "at": pa.array([START], pa.timestamp("us", "UTC")), "w": ["e"], "v": [5.0]})
    store.catalog.load_table("raw.events").append(more)


@pytest.mark.parametrize("renamed", [False, True])
def test_a_query_may_name_a_table_twice(store: FeatureStore, renamed: bool) -> None:
    if renamed:
        rename(store)
    table = tables.load(store._runtime.catalog, "raw.events")
    assert isinstance(open_snapshot(grant(table), table.snapshot_id), SnapshotStream if renamed else Dataset)
    column = "w" if renamed else "v"
    sql = f"SELECT x.k, x.{column} AS a, y.{column} AS b FROM raw.events x JOIN raw.events y ON x.k = y.k WHERE x.{column} < y.{column}"
    result = sorted(rows(store, sql), key=str)
    assert result == [{"k": 1, "a": "a", "b": "c"}, {"k": 2, "a": "b", "b": "d"}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{path}')",
        "SELECT * FROM '{path}'",
        'WITH "{path}" AS (SELECT * FROM "{path}") SELECT * FROM "{path}"',
        "SELECT * FROM raw.events, glob('{path}')",
        "SELECT * FROM raw.events WHERE v = (SELECT content FROM read_text('{path}'))",
    ],
)
def test_an_unchecked_query_reads_no_file(store: FeatureStore, tmp_path: Path, sql: str) -> None:
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    with pytest.raises(FeatureStoreError):
        rows(store, sql.format(path=path))


@pytest.mark.slow
def test_a_source_of_sql_gives_what_its_table_gives(store: FeatureStore) -> None:
    entity = Entity("e", keys="k")
    queried = Source("q", sql="SELECT k, at, v, upper(v) AS big FROM raw.events", timestamp="at")
    plain = Source("p", table="raw.events", timestamp="at", columns={"big": "upper(v)"})
    views = [
        FeatureView(f"{source.name}_{kind}", entity=entity, source=source, **more)
        for source in (queried, plain)
        for kind, more in (("rows", {"features": ["big"]}), ("counts", {"every": "1d", "features": {"n": agg.count(over=["1d", "3d"])}}))
    ]
    store.apply(views)
    store.materialize(end=START + timedelta(days=9))
    for kind in ("rows", "counts"):
        result = [
            store.catalog.load_table(f"features.{name}_{kind}_v1").scan().to_arrow().drop_columns(["created_timestamp"]).to_pylist()
            for name in ("q", "p")
        ]
        assert result[0]
        assert sorted(result[0], key=str) == sorted(result[1], key=str)
