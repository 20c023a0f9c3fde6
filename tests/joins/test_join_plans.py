"""The join gathers the same rows from memory, from buckets on disk, and as DuckDB joins them, at any thread count."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.compiler.relations import Column, Extent, IcebergFiles
from featurestore.engine.watch import Bounds, Watch, use_watch
from featurestore.errors import OutOfResources
from featurestore.joins.gather import log_columns
from featurestore.joins.gather.log_columns import file_rows
from featurestore.joins.gather.row_groups import RowGroup, row_groups
from featurestore.joins.gather.view_log import BATCH
from featurestore.joins.join import join
from featurestore.lakehouse.stored_files import StoredFiles
from featurestore.records.pinned import Pinned, pin
from featurestore.spines.spine import fit_rows, spine_in_memory
from tests.worlds import STAMP, load_source

DAY = 86_400_000_000
START = 1_767_225_600_000_000
PLENTY = 1 << 30
KNOWN = ("now", "then")


def rows(count: int, seed: int) -> pa.Table:
    """Readings of ten things over sixty days, with columns of many types, each with NULLs."""
    random = np.random.default_rng(seed)
    holes = random.random(count) < 0.1
    numbers = random.integers(0, 1000, count)
    times = START + random.integers(0, 60 * DAY, count)
    return pa.table(
        {
            "key": pa.array(random.integers(0, 10, count)),
            "at": pa.array(times, STAMP),
            "made": pa.array(times + random.integers(0, 5 * DAY, count), STAMP, mask=holes),
            "number": pa.array(numbers, mask=holes),
            "share": pa.array(random.standard_normal(count), mask=holes),
            "text": pa.array([f"text {number}" for number in numbers], mask=holes),
            "yes": pa.array(numbers % 2 == 0, mask=holes),
            "price": pa.array(numbers, pa.int64(), mask=holes).cast(pa.decimal128(21, 2)),
            "moment": pa.array(START + numbers, STAMP, mask=holes),
            "numbers": pa.array([None if number % 7 == 0 else [int(number), None] for number in numbers], pa.list_(pa.int64())),
        }
    )


def spine(count: int) -> pa.Table:
    """Rows in no order; some without a key or a time, some of unknown things, some before the first reading."""
    random = np.random.default_rng(99)
    times = START - 3 * DAY + random.integers(0, 70 * DAY, count)
    return pa.table(
        {
            "label": pa.array(range(count)),
            "key": pa.array(random.integers(0, 12, count), mask=random.random(count) < 0.05),
            "other": pa.array(random.integers(0, 10, count)),
            "t": pa.array(times, STAMP, mask=random.random(count) < 0.05),
            "factor": pa.array(random.standard_normal(count)),
        }
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a table of corrections and a row view with a ttl."""
    folder = tmp_path_factory.mktemp("plans")
    with FeatureStore(home=folder) as store:
        load_source(store, "raw.first", rows(3000, 1))
        load_source(store, "raw.second", rows(500, 2))
        thing = Entity("thing", keys="key")
        features = [name for name in rows(1, 0).schema.names if name not in ("key", "at", "made")]
        first = FeatureView(
            "first", entity=thing, source=Source("first", table="raw.first", timestamp="at", created="made"), features=features
        )
        recent = FeatureView(
            "recent",
            entity=thing,
            source=Source("second", table="raw.second", timestamp="at", created="made"),
            ttl="2d",
            features=features[:3],
        )
        service = FeatureService(
            "both",
            features=[first, recent.aliased("mine", keys={"key": "key"}), recent.aliased("other", keys={"key": "other"})],
            request={"factor": "double"},
            derived={
                "scaled": "factor * share / nullif(number, 0)",
                "shouted": "upper(text)",
                "later": "moment + INTERVAL 1 DAY",
                "last": "numbers[1]",
            },
        )
        store.apply([service])
        store.materialize()
        store.catalog.load_table("raw.first").append(rows(3000, 1).set_column(3, "number", pa.array(range(3000))).slice(0, 300))
        assert store.materialize("first")[0].corrections > 0
    return folder


class Unreadable(Pinned):
    """A feature table with files that only DuckDB can read."""

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> None:
        """None."""


def join_rows(store: FeatureStore, given: pa.Table, known: str, room: int, log: type[Pinned] = Pinned) -> tuple[pa.Table, object]:
    """The join in so many bytes, and what it says about the views."""
    plan = store.backend.service_plan("both")
    with store._runtime.engine.session() as session:
        logs = {name: log(**vars(pinned)) for name, pinned in pin(store._runtime, plan).items()}
        joined = join(session, plan, spine_in_memory(fit_rows(given, plan, "t"), plan), logs, known, room=room)
        return pa.Table.from_batches(joined.batches, joined.schema), (joined.facts, joined.sql)


@pytest.mark.slow
@pytest.mark.parametrize("known", KNOWN)
def test_both_plans_give_the_same(home: Path, known: str) -> None:
    asked = spine(BATCH + 1000)
    with FeatureStore(home=home) as store:
        spine_in_memory, said = join_rows(store, asked, known, PLENTY)
        assert spine_in_memory.num_rows == asked.num_rows
        assert spine_in_memory.column("label").equals(asked.column("label"))
        assert 0 < spine_in_memory.column("mine_number").null_count < spine_in_memory.num_rows
    for threads in (1, 3):
        with FeatureStore(settings=Settings(home=home, threads=threads, memory_limit="250MB")) as store:
            for room, log in ((PLENTY, Pinned), (30_000, Pinned), (30_000, Unreadable), (0, Pinned)):
                again, once_more = join_rows(store, asked, known, room, log)
                assert again.schema == spine_in_memory.schema
                assert again.equals(spine_in_memory), f"threads={threads}, room={room}, log={log}"
                assert once_more == said


@pytest.mark.slow
@pytest.mark.parametrize("room", [PLENTY, 0])
def test_an_empty_spine_and_one_that_finds_nothing(home: Path, room: int) -> None:
    with FeatureStore(home=home) as store:
        whole, _ = join_rows(store, spine(10), "now", room)
        empty, _ = join_rows(store, spine(10).slice(0, 0), "now", room)
        assert empty.num_rows == 0
        assert empty.schema == whole.schema
        nobody = spine(10).set_column(3, "t", pa.nulls(10, STAMP))
        joined, _ = join_rows(store, nobody, "now", room)
        assert joined.column("number").null_count == joined.column("shouted").null_count == 10


@pytest.mark.slow
def test_room_is_asked_for_before_it_is_taken(home: Path) -> None:
    """A little room lets little be held, and the rows are the same; more on disk than a request may use is refused."""
    with FeatureStore(home=home) as store:
        plenty, _ = join_rows(store, spine(1000), "now", PLENTY)
        for room in (1, 300_000):
            assert join_rows(store, spine(1000), "now", room)[0].equals(plenty)
        for log in (Pinned, Unreadable):
            with use_watch(Watch(Bounds(spill=10_000))), pytest.raises(OutOfResources, match="more memory and disk than its limits"):
                join_rows(store, spine(10), "now", 30_000, log)


def test_files_are_read_whole_only_where_they_are_what_the_snapshot_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = pa.schema([("key", pa.int64()), ("share", pa.float64())])
    with_ids = pa.schema([field.with_metadata({"PARQUET:field_id": str(id)}) for id, field in enumerate(kinds, 1)])
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"key": [1, 2, 3], "share": [0.5, None, 0.25]}, schema=with_ids), path, row_group_size=1)
    columns = (Column(1, "key", "BIGINT"), Column(2, "share", "DOUBLE"))
    extent = Extent(3, 0, 9)

    def groups(path: Path, columns: tuple[Column, ...] = columns) -> tuple[StoredFiles, list[RowGroup]]:
        files = StoredFiles((str(path),), (extent,), columns, lambda paths: IcebergFiles(tuple(paths), columns))
        return files, row_groups(files, str(path), extent)

    files, once = groups(path)
    assert [group.extent.rows for group in once] == [1, 1, 1]
    assert [once[2].bounds(name) for name in ("key", "share", "other")] == [(3, 3), (0.25, 0.25), None]
    places = file_rows(files, [*once, *once])
    assert places is not None
    assert places.rows == 6
    assert places.read(["share", "key"]).to_pylist()[:2] == [{"share": 0.5, "key": 1}, {"share": None, "key": 2}]
    share, key = places.take(["share", "key"], np.array([5, -1, 1, 5, 0]))
    assert (share.to_pylist(), key.to_pylist()) == ([0.25, None, None, 0.25, 0.5], [3, None, 2, 3, 1])
    assert places.take(["key"], np.array([-1, -1]))[0].to_pylist() == [None, None]
    # The same of files that are read in parts, and nothing twice.
    monkeypatch.setattr(log_columns, "READ_ROWS", 2)
    share, key = places.take(["share", "key"], np.array([5, -1, 1, 5, 0]))
    assert (share.to_pylist(), key.to_pylist()) == ([0.25, None, None, 0.25, 0.5], [3, None, 2, 3, 1])
    assert places.take(["key"], np.array([-1, -1]))[0].to_pylist() == [None, None]
    lots = [(first, lot.column("key").to_pylist()) for first, lot in places.lots(["key"], 4)]
    assert lots == [(0, [1, 2, 3, 1]), (4, [2, 3])]
    for other in [
        (Column(2, "key", "BIGINT"), Column(1, "share", "DOUBLE")),
        (Column(1, "key", "INTEGER"),),
        (Column(1, "k", "BIGINT"),),
    ]:
        assert file_rows(*groups(path, other)) is None
    gone = tmp_path / "gone.parquet"
    assert groups(gone)[1] == [RowGroup(str(gone), None, 0, extent)]
