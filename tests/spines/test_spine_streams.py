"""Streamed spines: spooled to a file, joined in parts, and matched backwards in time only as far as needed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.errors import TypeMismatch
from featurestore.joins.gather.view_log import BATCH
from featurestore.joins.join import join
from featurestore.records.pinned import pin
from featurestore.spines.reading import spine_of_rows
from featurestore.spines.spine import Spine
from featurestore.spines.spool import Spool
from tests.worlds import STAMP, load_source

DAY = 86_400_000_000
START = 1_704_067_200_000_000
ROWS = BATCH + 5000


def readings() -> pa.Table:
    """A year of readings of fifty things; the first five only in January, the sixth only at the very end."""
    random = np.random.default_rng(3)
    keys = random.integers(0, 50, 4000)
    days = np.where(keys < 5, random.integers(0, 20, 4000), np.where(keys == 5, 364, random.integers(0, 365, 4000)))
    times = START + days * DAY + random.integers(0, DAY, 4000)
    return pa.table({"key": keys, "at": pa.array(times, STAMP), "value": random.standard_normal(4000), "text": [f"t{key}" for key in keys]})


def random_spine(rows: int, first: int, days: int) -> pa.Table:
    random = np.random.default_rng(rows)
    times = START + first * DAY + random.integers(0, days * DAY, rows)
    keys = pa.array(random.integers(0, 55, rows), mask=random.random(rows) < 0.05)
    return pa.table({"key": keys, "t": pa.array(times, STAMP, mask=random.random(rows) < 0.05), "note": [f"n{n}" for n in range(rows)]})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(tmp_path_factory.mktemp("streams")) as opened:
        load_source(opened, "raw.readings", readings())
        source = Source("readings", table="raw.readings", timestamp="at")
        thing = Entity("thing", keys="key")
        endless = FeatureView("endless", entity=thing, source=source, features=["value", "text"])
        month = FeatureView("month", entity=thing, source=source, features={"v": "value"}, ttl="30d")
        opened.apply([FeatureService("both", features=[endless, month], derived={"sum": "value + v"})])
        opened.materialize()
        yield opened


def stream(table: pa.Table, rows: int = 1000) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches(rows)))


def join_spine(store: FeatureStore, spine: Spine, room: int, known: str = "now") -> tuple[pa.Table, object]:
    plan = store.backend.service_plan("both")
    with store._runtime.engine.session() as session:
        joined = join(session, plan, spine, pin(store._runtime, plan), known, room=room)
        return pa.Table.from_batches(joined.batches, joined.schema), joined.facts


@pytest.mark.slow
@pytest.mark.parametrize("known", ["now", "then"])
def test_a_spine_in_a_file_is_joined_in_pieces_as_at_once(store: FeatureStore, tmp_path: Path, known: str) -> None:
    asked = random_spine(ROWS, 0, 400)
    plan = store.backend.service_plan("both")
    at_once, facts = join_spine(store, spine_of_rows(asked, plan, "t", tmp_path), 1 << 30, known)
    spine = spine_of_rows(stream(asked), plan, "t", tmp_path, memory_limit=100_000)
    assert isinstance(spine.source, Spool)
    assert list(tmp_path.iterdir()) == []
    assert (spine.rows, spine.ends, spine.schema) == (
        ROWS,
        spine_of_rows(asked, plan, "t", tmp_path).ends,
        at_once.select([0, 1, 2]).schema,
    )
    assert [piece.rows for piece in spine.pieces(50_000)] == [50_000, ROWS - 50_000]
    in_pieces, again = join_spine(store, spine, 1 << 20, known)
    assert in_pieces.equals(at_once)
    assert again == facts
    in_the_engine, once_more = join_spine(store, spine, 0, known)
    assert in_the_engine.equals(at_once)
    assert once_more == facts


def test_what_is_wrong_late_in_a_stream_is_told_before_anything_is_joined(store: FeatureStore, tmp_path: Path) -> None:
    rows = random_spine(3000, 0, 30)
    wrong = rows.set_column(1, "t", pa.array([*["2024-01-05"] * 2999, "soon"]))
    with pytest.raises(TypeMismatch, match="'soon', which is not ISO 8601"):
        spine_of_rows(stream(wrong), store.backend.service_plan("both"), "t", tmp_path, memory_limit=1)


def test_files_of_a_spine_are_streamed_and_their_types_brought_together(store: FeatureStore, tmp_path: Path) -> None:
    asked = random_spine(3000, 100, 200)
    small = asked.set_column(0, "key", asked.column("key").cast(pa.int32()))
    pq.write_table(small.slice(0, 1000), tmp_path / "a.parquet")
    pq.write_table(asked.slice(1000), tmp_path / "b.parquet", row_group_size=700)
    from_files = store.point_in_time("both", str(tmp_path / "*.parquet"), "t")
    assert from_files.equals(store.point_in_time("both", asked, "t"))


@pytest.mark.parametrize("first, days", [(360, 5), (331, 3), (10, 4), (500, 3), (-20, 10)])
def test_a_week_sees_what_came_before_it_however_long_ago(store: FeatureStore, tmp_path: Path, first: int, days: int) -> None:
    spine = spine_of_rows(random_spine(700, first, days), store.backend.service_plan("both"), "t", tmp_path)
    gathered, facts = join_spine(store, spine, 1 << 30)
    spilled, again = join_spine(store, spine, 0)
    assert gathered.equals(spilled)
    assert facts == again
    if first > 330:
        assert "t0" in gathered.column("text").to_pylist()
