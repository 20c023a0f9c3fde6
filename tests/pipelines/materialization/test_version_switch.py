"""Readers move to a new version at once, after its backfill is complete, in the table and then online."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.pipelines.materialization.materialize import ViewProgress
from tests import shop
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow

customer = Entity("customer", keys="customer_id")
orders = Source("orders", table="shop.orders", timestamp="at")
counts = FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over="7d")})
sums = FeatureView("sums", entity=customer, source=orders, every="1d", features={"total": agg.sum("price", over="7d")})
old = FeatureService("churn", features=[counts, sums])
new = FeatureService(
    "churn",
    features=[
        replace(counts, features={"n": agg.count(over=["7d", "14d"])}),
        replace(sums, features={"total": agg.sum("price", over=["7d", "14d"])}),
    ],
)
BEFORE, AFTER = ("n_7d", "total_7d"), ("n_7d", "n_14d", "total_7d", "total_14d")
SPINE = [{"customer_id": 1, "t": "1970-03-01"}]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """A store that serves the old version, and has applied the new one; a backfill takes several chunks."""
    with FeatureStore(settings=Settings(home=tmp_path / "home", chunk_rows=50)) as store:
        day = 86_400_000_000
        rows = {
            "customer_id": pa.array([n % 3 for n in range(90)], pa.int64()),
            "at": pa.array([n * day for n in range(90)], STAMP),
            "price": [1.0] * 90,
        }
        load_source(store, "shop.orders", pa.table(rows))
        store.apply([old])
        store.materialize()
        store.apply([new])
        yield store


def training_features(store: FeatureStore) -> tuple[str, ...]:
    """The features that a training set gets."""
    return tuple(store.training_set("churn", SPINE, "t").features)


def looked_up(store: FeatureStore) -> tuple[str, ...]:
    """The features that a lookup gets, each of a view that has the customer."""
    features = store.online_features("churn", [{"customer_id": 1}])
    assert set(features.status.values()) == {("PRESENT",)}
    return features.features


def just_begun(store: FeatureStore) -> tuple[str, ...]:
    """The features that a lookup gets in a process that remembers nothing."""
    with FeatureStore(settings=store.settings) as fresh:
        return looked_up(fresh)


def test_readers_keep_the_old_version_until_every_view_is_filled(store: FeatureStore) -> None:
    assert (training_features(store), looked_up(store), just_begun(store)) == (BEFORE, BEFORE, BEFORE)
    seen: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []

    def look(progress: ViewProgress) -> None:
        online = looked_up(store)
        assert progress.stage != "publish" or just_begun(store) == online
        seen.append((progress.stage, training_features(store), online))

    store.materialize("counts", progress=look)
    assert [stage for stage, *_ in seen].count("compute") > 2
    assert {features for _, *both in seen for features in both} == {BEFORE}
    seen.clear()
    store.materialize("sums", progress=look)
    stages = [stage for stage, _, _ in seen]
    assert {online for _, _, online in seen[: stages.index("done")]} == {BEFORE}
    assert {offline for _, offline, _ in seen[: stages.index("publish")]} == {BEFORE}
    assert (training_features(store), looked_up(store), just_begun(store)) == (AFTER, AFTER, AFTER)


def test_a_backfill_that_broke_off_moves_nobody(store: FeatureStore) -> None:
    def broken(stage: str, done: int) -> Callable[[ViewProgress], None]:
        def report(progress: ViewProgress) -> None:
            if (progress.stage, progress.done) == (stage, done):
                raise KeyboardInterrupt

        return report

    store.materialize("counts")
    with pytest.raises(KeyboardInterrupt):
        store.materialize("sums", progress=broken("compute", 2))
    assert (training_features(store), looked_up(store), just_begun(store)) == (BEFORE, BEFORE, BEFORE)
    waiting = next(step for step in store.plan([new]).steps if step.name == "sums")
    assert re.fullmatch(r"waits for its backfill, which was interrupted or is running: [1-9]\d* rows are ready", waiting.reason)
    with pytest.raises(KeyboardInterrupt):
        store.materialize("sums", progress=broken("publish", 1))
    assert (training_features(store), looked_up(store), just_begun(store)) == (AFTER, BEFORE, BEFORE), (
        "the table is whole, the online store is not"
    )
    store.materialize("sums")
    assert (training_features(store), looked_up(store), just_begun(store)) == (AFTER, AFTER, AFTER)


def test_served_over_http(store: FeatureStore) -> None:
    with shop.serving(store) as url, httpx.Client(base_url=url) as client:

        def features() -> tuple[str, ...]:
            answer = client.post("/v1/services/churn/online", json={"entities": [{"customer_id": 1}]})
            assert answer.json()["status"] == {"counts": ["PRESENT"], "sums": ["PRESENT"]}
            return tuple(answer.json()["features"])

        assert features() == BEFORE
        with FeatureStore(settings=store.settings) as elsewhere:
            seen: list[tuple[str, str, tuple[str, ...]]] = []
            elsewhere.materialize(progress=lambda progress: seen.append((progress.view, progress.stage, features())))
        first = [found for *_, found in seen].index(AFTER)
        assert seen[first][1] == "done", "what is published in one run is seen when all of it is"
        assert [found for *_, found in seen] == [BEFORE] * first + [AFTER] * (len(seen) - first)
        assert features() == AFTER
