"""Answers with a cache of entities equal those without one, whatever was published, expired or dropped meanwhile."""

import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureStore
from featurestore.compiler.service_plan import ServicePlan
from featurestore.online.keys import encode_key
from featurestore.online.store import Cursor, EncodedKeys
from featurestore.pipelines.online_lookup.entity_cache import EntityCache
from featurestore.pipelines.online_lookup.lookup_derived import DerivedFeatures
from featurestore.pipelines.online_lookup.lookup_json import AGAIN, Answer, LookupWriter
from featurestore.values import times
from tests import shop
from tests.server.wide import COUNT, TEXTS, key_of, open_wide

DAY = 86_400_000_000


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with open_wide(tmp_path_factory.mktemp("wide")) as store:
        yield store


def plan_of(store: FeatureStore, service: str) -> ServicePlan:
    store.online_features(service, [{"id": 1, "name": "a1", **({"other": None} if service == "all" else {})}])
    plan = store.backend.cached_plan(service)
    assert plan is not None
    return plan


def keys_of(plan: ServicePlan, indices: list[int]) -> EncodedKeys:
    """The keys of entities of `wide`; those from COUNT on have no rows, and negative ones a NULL."""
    values: dict[str, Any] = {
        "id": [None if index < 0 else index for index in indices],
        "name": [f"{TEXTS[index % len(TEXTS)]}{index}" for index in indices],
        "other": [str(key_of(abs(index))) for index in indices],
    }
    lists = {
        columns: [encode_key(key) for key in zip(*(values[column] for column in columns), strict=True)] for columns in key_columns(plan)
    }
    return [(use.table, lists[tuple(column for _, column in use.keys)]) for use in plan.uses]


def derived_of(store: FeatureStore, plan: ServicePlan) -> DerivedFeatures | None:
    return DerivedFeatures.of(store.backend.runtime, plan) if plan.derived else None


def key_columns(plan: ServicePlan) -> set[tuple[str, ...]]:
    return {tuple(column for _, column in use.keys) for use in plan.uses}


def publish_numbers(store: FeatureStore, plan: ServicePlan, chance: random.Random) -> None:
    """New values and times of some rows of the view with a ttl, and no row anymore for one key."""
    table = next(use.table for use in plan.uses if use.ttl is not None)
    online = store._runtime.online
    ids = chance.sample(range(COUNT), 5)
    at = pa.array([shop.days(chance.randrange(COUNT)) for _ in ids], pa.timestamp("us", "UTC"))
    rows = pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "feature_timestamp": at,
            "created_timestamp": at,
            "number": pa.array([chance.random() for _ in ids]),
            "text": pa.array([f"new {chance.random()}" for _ in ids]),
        }
    )
    cursor = online.cursor(table)
    assert isinstance(cursor, Cursor)
    online.publish(table, rows, keys=["id"], cursor=cursor, removed=pa.table({"id": pa.array([chance.randrange(COUNT), *ids], pa.int64())}))


@pytest.mark.parametrize("limit", [0, 20_000, 1 << 20])
@pytest.mark.parametrize("service", ["all", "few", "sums"])
def test_answers_are_those_without_a_cache(wide: FeatureStore, service: str, limit: int) -> None:
    chance = random.Random(f"{service} {limit}")
    plan, online, cache = plan_of(wide, service), wide._runtime.online, EntityCache(limit)
    writer, other = LookupWriter(plan, derived_of(wide, plan), cache), LookupWriter(plan, derived_of(wide, plan), cache)
    now, found_some, attempts, answers = times.micros(shop.days(15)), 0, 0, 0
    for _ in range(150):
        if chance.random() < 0.1:
            publish_numbers(wide, plan, chance)
        # Rows expire as time passes, at their exact microsecond.
        now += chance.choice((0, 0, 1, DAY // 7))
        keys = keys_of(
            plan,
            [
                chance.randrange(-1, COUNT + 2) if chance.random() < 0.1 else chance.randrange(COUNT)
                for _ in range(chance.choice((1, 2, 9)))
            ],
        )
        full = chance.random() < 0.5
        plain = LookupWriter(plan, derived_of(wide, plan))
        expected = plain.write(plain.find(keys), online.read_encoded(keys), {}, now, full)
        used = chance.choice((writer, other))
        answer: Any = AGAIN
        while answer is AGAIN:
            attempts += 1
            found = used.find(keys)
            found_some += found.form is not None
            answer = used.write(found, online.read_encoded(found.missing), {}, now, full)
        # None: one of the derived features needs the engine.
        assert answer == expected
        assert cache.bytes <= limit
        answers += isinstance(answer, Answer)
    assert (found_some > 20) == (limit > 0)
    assert attempts <= 300
    assert answers > 75
    writer.close()
    other.close()
    assert cache.bytes == 0


def test_a_table_that_is_gone_is_left_to_the_ordinary_route(wide: FeatureStore) -> None:
    plan, online = plan_of(wide, "few"), wide._runtime.online
    writer = LookupWriter(plan, cache=EntityCache(1 << 20))
    keys, now = keys_of(plan, list(range(COUNT))), times.micros(shop.days(0))
    for _ in range(2):
        found = writer.find(keys)
        assert isinstance(writer.write(found, online.read_encoded(found.missing), {}, now, True), Answer)
    assert len(found.missing[0][1]) < COUNT
    unknown = online.read_encoded([("nowhere_v1", ()) for _ in plan.uses])
    assert writer.write(found, unknown, {}, now, True) is None
    # What was kept was dropped.
    assert writer.find(keys).missing == keys
