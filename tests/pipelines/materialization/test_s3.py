"""A store with its warehouse on S3: files of the engine are uploaded, and reads are streams."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.errors import FeatureStoreError
from featurestore.joins.gather.log_columns import FileRows, MemoryRows
from featurestore.joins.gather.plan import plan_gather
from featurestore.joins.join import join
from featurestore.joins.view_join import view_joins
from featurestore.lakehouse.kept_objects import KEPT, KEPT_COLUMNS
from featurestore.records.pinned import pin
from featurestore.spines.spine import fit_rows, spine_in_memory
from tests.pipelines.materialization.test_backfill import END, as_of, declare, events
from tests.s3 import connection, filesystem, server
from tests.worlds import STAMP, load_source

DAY = 86_400_000_000
START = 1_735_689_600_000_000


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server() as address:
        yield address


@pytest.mark.slow
def test_the_same_rows_as_on_a_local_disk(endpoint: str, tmp_path: Path) -> None:
    there = Settings(home=tmp_path / "there", warehouse="s3://lake/warehouse", catalog=connection(endpoint, tmp_path), chunk_rows=400)
    here = Settings(home=tmp_path / "here")
    stores = [FeatureStore(settings=settings) for settings in (there, here)]
    for store in stores:
        load_source(store, "raw.s", events(0, 24 * 50))
        store.apply(declare())
        store.materialize(end=END - timedelta(days=1))
        # Late rows, a new day, and some rows that go.
        store.catalog.load_table("raw.s").append(events(24 * 45, 24 * 51))
        store.materialize(end=END)
        store.catalog.load_table("raw.s").delete("k = 3")
        store.materialize(end=END)
        assert [run.rows_appended for run in store.materialize(end=END)] == [0, 0, 0]
    assert as_of(stores[0]).equals(as_of(stores[1]))
    online = [store.online_features("service", [{"k": k} for k in range(9)]).rows for store in stores]
    assert online[0] == online[1]
    assert not list((tmp_path / "there" / "spill").iterdir())


def year(rows: int) -> pa.Table:
    """Readings of a year, of columns of many types."""
    random = np.random.default_rng(rows)
    times = START + random.integers(0, 365 * DAY, rows)
    numbers = random.integers(0, 1000, rows)
    holes = random.random(rows) < 0.1
    return pa.table(
        {
            "key": pa.array([f"k{key}" for key in random.integers(0, 50, rows)]),
            "at": pa.array(times, STAMP),
            "share": pa.array(random.standard_normal(rows), mask=holes),
            "text": pa.array([f"text {number}" for number in numbers], mask=holes),
            "numbers": pa.array([[int(number), None] for number in numbers], pa.list_(pa.int64())),
        }
    )


def random_spine(first: int, days: int) -> pa.Table:
    random = np.random.default_rng(first)
    times = START + first * DAY + random.integers(0, days * DAY, 500)
    return pa.table({"key": [f"k{key}" for key in random.integers(0, 52, 500)], "t": pa.array(times, STAMP)})


@pytest.mark.slow
def test_a_join_reads_of_s3_the_row_groups_that_it_needs(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Few rows stand for many: row groups of some days, and more columns than are asked for at once.
    monkeypatch.setattr("featurestore.lakehouse.row_groups.MIN_GROUP_ROWS", 2048)
    monkeypatch.setattr("featurestore.joins.gather.log_columns.REQUEST_BYTES", 100_000)
    there = Settings(home=tmp_path / "there", warehouse="s3://lake/joined", catalog=connection(endpoint, tmp_path))
    here = Settings(home=tmp_path / "here")
    monkeypatch.setattr("featurestore.joins.gather.view_log.SORT_BYTES", 16)
    answers: list[list[pa.Table]] = []
    opened_as: list[list[type]] = []
    for settings in (there, here):
        with FeatureStore(settings=settings) as store:
            load_source(store, "raw.year", year(60_000))
            source = Source("year", table="raw.year", timestamp="at")
            thing = Entity("thing", keys="key")
            view = FeatureView("view", entity=thing, source=source, features=["share", "text", "numbers"])
            recent = FeatureView("recent", entity=thing, source=source, features={"lately": "share"}, ttl="7d")
            store.apply([FeatureService("both", features=[view, recent])])
            store.materialize()
            plan = store.backend.service_plan("both")
            tables: list[pa.Table] = []
            kinds: list[type] = []
            for first, days, room in ((200, 7, 1 << 30), (0, 365, 1 << 30), (0, 365, 1_000_000), (0, 365, 0)):
                spine = spine_in_memory(fit_rows(random_spine(first, days), plan, "t"), plan)
                for known in ("now", "then"):
                    with store._runtime.engine.session() as session:
                        pinned = pin(store._runtime, plan)
                        if room:
                            (log, *_) = plan_gather(session, plan, view_joins(plan, spine, pinned, known), room)._logs
                            kinds.append(type(log._newest))
                            if days == 7:
                                assert log._newest.rows < 5000
                        joined = join(session, plan, spine, pinned, known, room=room)
                        tables.append(pa.Table.from_batches(joined.batches, joined.schema))
            answers.append(tables)
            opened_as.append(kinds)
    assert opened_as[0] == [FileRows] * 2 + [MemoryRows] * 2 + [FileRows] * 2, "of S3 most of a log is had in one stream, if it fits"
    assert set(opened_as[1]) == {FileRows}
    for on_s3, on_disk in zip(*answers, strict=True):
        assert on_s3.equals(on_disk)
    assert 0 < answers[0][0].column("lately").null_count < 500


@pytest.mark.slow
def test_what_is_gone_from_s3_is_said(endpoint: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, warehouse="s3://lake/gone", catalog=connection(endpoint, tmp_path))
    with FeatureStore(settings=settings) as store:
        load_source(store, "raw.year", year(500))
        source = Source("year", table="raw.year", timestamp="at")
        store.apply(
            [FeatureService("one", features=[FeatureView("view", entity=Entity("thing", keys="key"), source=source, features=["share"])])]
        )
        store.materialize()
        folder = pafs.FileSelector("lake/gone/features/view_v1/data", recursive=True)
        for found in filesystem(endpoint).get_file_info(folder):
            if found.is_file:
                filesystem(endpoint).delete_file(found.path)
        # As in another process: this one keeps what it has written.
        for kept in (KEPT, KEPT_COLUMNS):
            kept.clear()
        spine = pa.table({"key": ["k1"], "t": pa.array([START + 300 * DAY], STAMP)})
        with pytest.raises(FeatureStoreError, match="view_v1"):
            store.point_in_time("one", spine, "t")
