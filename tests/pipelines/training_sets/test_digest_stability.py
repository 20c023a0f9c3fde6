"""A digest depends on the rows only, not on files, batches or threads."""

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.joins import engine_plan, join
from featurestore.joins.gather import plan
from featurestore.lakehouse import compaction
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64()), ("word", pa.string())])
ROWS = 70_000
"""More than one batch of the join, and more than one block of the digest."""

# What a process says that knows the catalog alone, in one thread and little memory, then in three.
ELSEWHERE = """
from featurestore import FeatureStore, Settings
from tests.pipelines.training_sets.test_digest_stability import spine
for threads, memory in ((1, "200MB"), (3, "1GB")):
    with FeatureStore(settings=Settings(home={home!r}, threads=threads, memory_limit=memory)) as store:
        print(store.rebuild({id!r}).digest, store.training_set("all", spine(), "t", name=f"in{{threads}}").digest)
"""


def events(seed: int, first: int, last: int) -> pa.Table:
    """Readings at random hours of these days, whose sums depend on the order of adding."""
    dice = random.Random(seed)
    rows = [
        {
            "k": dice.randrange(20),
            "at": T + timedelta(hours=dice.randrange(24 * first, 24 * last)),
            "x": dice.gauss(0, 1e6),
            "word": f"w{dice.randrange(9)}",
        }
        for _ in range(1500)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


@cache
def spine() -> pa.Table:
    """Rows of known and unknown things, in no order."""
    dice = random.Random(5)
    times = [T + timedelta(minutes=dice.randrange(60 * 24 * 40)) for _ in range(ROWS)]
    return pa.table(
        {"k": [dice.randrange(22) for _ in range(ROWS)], "t": pa.array(times, STAMP), "factor": [dice.random() for _ in range(ROWS)]}
    )


def declare() -> FeatureService:
    thing, source = Entity("thing", keys="k"), Source("s", table="raw.s", timestamp="at")
    features: dict[str, Any] = {
        "sum": agg.sum("x", over="7d"),
        "mean": agg.mean("x", over=["7d", "14d"]),
        "spread": agg.stddev("x", over="7d"),
        "words": agg.last_n("word", n=3, over="7d"),
    }
    sums = FeatureView("sums", entity=thing, source=source, every="1d", features=features)
    last = FeatureView("last", entity=thing, source=source, ttl="2d", features=["x", "word"])
    return FeatureService("all", features=[sums, last], request={"factor": "double"}, derived={"scaled": "factor * mean_7d / sum_7d"})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Several runs with late rows and corrections, so several files a month."""
    store = FeatureStore(home=tmp_path_factory.mktemp("store"))
    load_source(store, "raw.s", SCHEMA.empty_table())
    store.apply([declare()])
    for seed in range(3):
        store.catalog.load_table("raw.s").append(events(seed, 0, 15 * (seed + 1)))
        store.materialize()
    return store


@pytest.mark.slow
def test_compaction_and_folding_change_snapshots_and_no_digest(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MIN_SMALL_FILES", 2)
    first = store.training_set("all", spine(), "t")
    done = [first]
    for age in (None, timedelta(0)):
        assert (
            sum(entry["compacted_files"] for entry in store.maintain(drop_superseded_after=age) if entry["table"].startswith("features."))
            > 0
        )
        done.append(store.training_set("all", spine(), "t"))
        assert not set(done[-1].snapshots.items()) & set(done[-2].snapshots.items())
    assert len({entry.id for entry in done}) == 3
    assert {entry.digest for entry in done} == {first.digest}
    assert store.rebuild(first.id).digest == first.digest


@pytest.mark.slow
def test_no_batch_size_shows(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.training_set("all", spine(), "t")
    for module in (plan, engine_plan):
        monkeypatch.setattr(module, "BATCH", 4999)
    assert store.training_set("all", spine(), "t", name="gathered").digest == first.digest
    # No log fits in memory; then nothing does, and the spine is joined in pieces.
    monkeypatch.setattr(join, "MEMORY_DIVISOR", store._runtime.engine.memory // 100_000)
    assert store.training_set("all", spine(), "t", name="divided").digest == first.digest
    monkeypatch.setattr(join, "MEMORY_DIVISOR", 1 << 50)
    monkeypatch.setattr(engine_plan.EngineJoin, "rows_at_once", 30_011)
    assert store.training_set("all", spine(), "t", name="spilled").digest == first.digest


@pytest.mark.slow
def test_another_process_with_other_threads_and_memory(store: FeatureStore) -> None:
    first = store.training_set("all", spine(), "t")
    code = ELSEWHERE.format(home=str(store.settings.home), id=first.id)
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert output.stdout.split() == [first.digest] * 4
