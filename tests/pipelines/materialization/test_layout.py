"""The order of rows in the files of feature tables: row groups of a few days, and within a day the rows of a key together."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.compiler.relations import IcebergFiles
from featurestore.lakehouse import scans, tables
from featurestore.lakehouse.row_groups import ROW_GROUP_ROWS, group_rows
from tests.granting import grant
from tests.worlds import STAMP, load_source

DAY = 86_400_000_000
START = 1_767_225_600_000_000
KEYS = 50


def readings(rows: int, first: int, days: int) -> pa.Table:
    random = np.random.default_rng(rows)
    times = START + first * DAY + random.choice(days * DAY, rows, replace=False)
    return pa.table({"key": random.integers(0, KEYS, rows), "at": pa.array(times, STAMP), "value": random.standard_normal(rows)})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(tmp_path_factory.mktemp("layout")) as opened:
        load_source(opened, "raw.readings", readings(60_000, 0, 31))
        source = Source("readings", table="raw.readings", timestamp="at")
        thing = Entity("thing", keys="key")
        plain = FeatureView("plain", entity=thing, source=source, features=["value"])
        hourly = FeatureView("hourly", entity=thing, source=source, every="1h", features={"n": agg.count(over="1h")})
        opened.apply([FeatureService("both", features=[plain, hourly])])
        opened.materialize()
        yield opened


def files(store: FeatureStore, table: str) -> list[Path]:
    loaded = tables.load(store.catalog, f"features.{table}")
    scanned = scans.scan_snapshot(grant(loaded), loaded.snapshot_id)
    assert isinstance(scanned, IcebergFiles)
    return [Path(path) for path in scanned.paths]


def days_of_groups(path: Path) -> list[tuple[int, int]]:
    """The first and the last day of each row group, numbered within the month."""
    footer = pq.read_metadata(path)
    ends = [footer.row_group(number).column(1).statistics for number in range(footer.num_row_groups)]
    return [((end.min_raw - START) // DAY, (end.max_raw - START) // DAY) for end in ends]


def assert_in_order(path: Path) -> None:
    rows = pq.read_table(path, columns=["key", "feature_timestamp"])
    keys, times = (rows.column(name).cast(pa.int64()).to_numpy() for name in rows.column_names)
    placed = list(zip((times // DAY).tolist(), keys.tolist(), times.tolist(), strict=True))
    assert placed == sorted(placed)


@pytest.mark.parametrize("table", ["plain_v1", "hourly_v1"])
def test_a_month_is_cut_into_row_groups_of_a_few_days(store: FeatureStore, table: str) -> None:
    (january, *_) = sorted(files(store, table), key=lambda path: -pq.read_metadata(path).num_rows)
    groups = days_of_groups(january)
    assert len(groups) >= 5
    assert all(last - first <= 8 for first, last in groups)
    assert all(after[0] >= before[1] for before, after in pairwise(groups))
    assert_in_order(january)


@pytest.mark.slow
def test_compaction_keeps_the_order(store: FeatureStore) -> None:
    for day in range(5):
        store.catalog.load_table("raw.readings").append(readings(3000 + day, 31 + day * 4, 4))
        store.materialize("plain")
    before = len(files(store, "plain_v1"))
    store.maintain()
    assert len(files(store, "plain_v1")) < before
    february = next(path for path in files(store, "plain_v1") if days_of_groups(path)[0][0] >= 31)
    assert pq.read_metadata(february).num_rows == sum(3000 + day for day in range(5))
    assert all(last - first <= 8 for first, last in days_of_groups(february))
    assert_in_order(february)


def test_a_row_group_is_an_eighth_of_a_month_within_bounds() -> None:
    assert [group_rows(rows) for rows in (0, 30_000, 41_000, 333_000, 10_000_000)] == [4096, 4096, 6144, 43_008, ROW_GROUP_ROWS]
