"""What policies make of online rows equals plain Python, for all types, in objects, JSON and the bytes of the fast path."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from featurestore import FeatureStore
from featurestore.compiler.row_policy import BoundPolicy, RowPolicy
from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import NotReady
from featurestore.online.keys import encode_key
from featurestore.pipelines.online_lookup import lookup
from featurestore.pipelines.online_lookup.encoded_policies import EncodedPolicies
from featurestore.pipelines.online_lookup.entity_cache import EntityCache
from featurestore.pipelines.online_lookup.lookup_derived import DerivedFeatures
from featurestore.pipelines.online_lookup.lookup_json import AGAIN, LookupWriter
from featurestore.records.serving_version import bind_policies
from featurestore.values import times
from tests import shop
from tests.server.wide import entities, open_wide

Raw = Mapping[str, Any]
Rule = tuple[str, Callable[[Raw], Any]]
TABLE = "pairs_v1"
SINCE = shop.days(3)


def of(name: str, compute: Callable[[Any], Any]) -> Callable[[Raw], Any]:
    """A function of one column that is NULL of NULL."""
    return lambda raw: None if raw[name] is None else compute(raw[name])


def shifted(day: date, days: int) -> date | None:
    """NULL where no date of a table is."""
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return None


MASKS: dict[str, list[Rule]] = {
    "flag": [("NOT flag", of("flag", lambda value: not value)), ("id > 20", of("id", lambda value: value > 20))],
    "small": [("small * 2", of("small", lambda value: value * 2)), ("large", lambda raw: None)],
    "large": [("large - 1", of("large", lambda value: value - 1)), ("10 // (id % 2)", lambda raw: 10 if raw["id"] % 2 else None)],
    "single": [("0.5", lambda raw: 0.5)],
    "number": [("small / 2", of("small", lambda value: value / 2)), ("'NaN'", lambda raw: float("nan"))],
    "text": [
        ("'***' || right(text, 2)", of("text", lambda value: "***" + value[-2:])),
        ("name", of("name", str)),
        ("sha256(text)", of("text", lambda value: hashlib.sha256(value.encode()).hexdigest())),
        ("id", of("id", str)),
    ],
    "data": [("'x'::BLOB", lambda raw: b"x")],
    "day": [("day - 4000", of("day", lambda value: shifted(value, -4000))), ("text", lambda raw: None)],
    "moment": [
        ("feature_timestamp", lambda raw: raw["feature_timestamp"]),
        ("moment + INTERVAL 1 DAY", of("moment", lambda value: value + timedelta(days=1))),
    ],
    "price": [
        ("price * 2", of("price", lambda value: value * 2)),
        ("id", of("id", lambda value: Decimal(value).quantize(Decimal("1e-8")))),
    ],
    "code": [("'00000000-0000-0000-0000-000000000001'", lambda raw: "00000000-0000-0000-0000-000000000001")],
    "numbers": [("[small]", lambda raw: [None if raw["small"] is None else float(raw["small"])])],
    "times": [("[moment]", lambda raw: [raw["moment"]])],
}
FILTERS: list[Rule] = [
    ("flag", lambda raw: raw["flag"] is True),
    ("id < 20", lambda raw: raw["id"] < 20),
    ("NOT starts_with(name, 'a')", lambda raw: not raw["name"].startswith("a")),
    (f"feature_timestamp > TIMESTAMPTZ '{SINCE}' OR id % 2 = 0", lambda raw: raw["feature_timestamp"] > SINCE or raw["id"] % 2 == 0),
    ("100 // (id - 5) IS NOT NULL AND text IS NOT NULL", lambda raw: raw["id"] != 5 and raw["text"] is not None),
    ("CAST(name AS INTEGER) > 3", lambda raw: raw["name"].isdigit() and int(raw["name"]) > 3),
    ("other_column > 1", lambda raw: False),
]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with open_wide(tmp_path_factory.mktemp("wide")) as store:
        yield store


def plan_of(store: FeatureStore, service: str) -> ServicePlan:
    return store.backend.service_plan(service)


def bound(store: FeatureStore, policy: RowPolicy) -> BoundPolicy:
    columns = store.backend.services._column_types()
    return bind_policies({TABLE: policy}, columns)[TABLE]


def random_policy(chance: random.Random) -> tuple[RowPolicy, dict[str, Callable[[Raw], Any]], Callable[[Raw], Any]]:
    """A policy, and its masks and filter in Python."""
    chosen = chance.sample(list(MASKS), chance.randrange(4))
    masks: dict[str, Rule] = {name: chance.choice([*MASKS[name], ("NULL", lambda raw: None)]) for name in chosen}
    rule = chance.choice([*FILTERS, None])
    policy = RowPolicy.of({name: sql for name, (sql, _) in masks.items()}, None if rule is None else rule[0])
    return policy, {name: compute for name, (_, compute) in masks.items()}, (lambda raw: True) if rule is None else rule[1]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)
    return str(a) == str(b) if type(a) is not type(b) else bool(a == b)


@pytest.mark.parametrize("service", ["all", "few", "sums"])
def test_values_are_those_of_plain_python_and_the_bytes_those_of_the_ordinary_route(wide: FeatureStore, service: str) -> None:
    chance, now = random.Random(service), times.now()
    plan, everything = plan_of(wide, service), plan_of(wide, "all")
    keys = ("id", "name", "other") if service == "all" else ("id", "name")
    runtime, tables = wide.backend.runtime, wide._online_tables
    names = [column for column, _ in next(use for use in everything.uses if use.table == TABLE).features]
    fast = 0
    for _ in range(20):
        policy, masks, is_visible = random_policy(chance)
        asked = entities(chance, chance.choice((1, 3, 8, 20)), ("id", "name", "other"))
        sent = [{name: entity[name] for name in keys} for entity in asked]
        raw = lookup.lookup(runtime, everything, asked, None, tables, now)
        in_force = {TABLE: bound(wide, policy)}
        shown = lookup.lookup(runtime, plan, sent, None, tables, now, row_policies=in_force)
        (use,) = (use for use in plan.uses if use.table == TABLE)
        places = {column: plan.feature_names.index(name) for column, name in use.features}
        for index, entity in enumerate(asked):
            at = raw.timestamps["pairs"][index]
            values = (
                dict(zip(names, raw.rows[index], strict=False)) | entity | {"feature_timestamp": None if at is None else times.moment(at)}
            )
            there = at is not None and is_visible(values)
            assert shown.status["pairs"][index] == ("PRESENT" if there else "NOT_FOUND")
            assert shown.timestamps["pairs"][index] == (at if there else None)
            for column, place in places.items():
                expected = (masks[column](values) if column in masks else values[column]) if there else None
                assert same(shown.rows[index][place], expected), (policy, column, entity)
        assert shown.policies != raw.policies or policy.is_open
        fast += bytes_are(wide, plan, in_force, sent, shown.to_json(), now)
    assert fast >= 5


def bytes_are(store: FeatureStore, plan: ServicePlan, policies: Mapping[str, BoundPolicy], sent: Any, expected: bytes, now: int) -> bool:
    """Check the bytes of the fast path, with and without kept entities. Returns whether it answers."""
    runtime = store.backend.runtime
    encoded = EncodedPolicies(plan, policies, runtime.engine.evaluator)
    derived = DerivedFeatures.of(runtime, plan) if plan.derived else None
    writer = LookupWriter(plan, derived, EntityCache(1 << 20), encoded)
    lists = {
        columns: [encode_key([entity[column] for column in columns]) for entity in sent]
        for columns in {tuple(column for _, column in use.keys) for use in plan.uses}
    }
    keys = [(use.table, lists[tuple(column for _, column in use.keys)]) for use in plan.uses]
    answered = False
    for _ in range(2):
        kept = writer.find(keys)
        answer = writer.write(kept, runtime.online.read_encoded(kept.missing), {}, now, True)
        assert answer is not AGAIN
        answered = answer is not None
        assert answer is None or answer.content == expected
    return answered


def test_what_is_hidden_is_as_if_it_were_not_there(wide: FeatureStore) -> None:
    plan, runtime, tables = plan_of(wide, "few"), wide.backend.runtime, wide._online_tables
    there, absent = [{"id": 1, "name": "a1"}], [{"id": 1, "name": "nobody"}]
    hidden = {TABLE: bound(wide, RowPolicy.of({"text": "1 // 0"}, "id <> 1"))}
    now = times.now()
    answers = [lookup.lookup(runtime, plan, sent, None, tables, now, row_policies=hidden) for sent in (there, absent)]
    assert answers[0].to_json() == answers[1].to_json()
    assert answers[0].to_arrow_stream() == answers[1].to_arrow_stream()


def test_a_feature_that_is_not_recorded_is_not_shown(wide: FeatureStore) -> None:
    plan, runtime, tables = plan_of(wide, "few"), wide.backend.runtime, wide._online_tables
    unknown = {TABLE: RowPolicy.of({"TEXT": "NULL"}, None).bind({"id": "BIGINT", "name": "VARCHAR"})}
    with pytest.raises(NotReady, match="recorded columns"):
        lookup.lookup(runtime, plan, [{"id": 1, "name": "a1"}], None, tables, row_policies=unknown)
    with pytest.raises(NotReady, match="which columns gone has"):
        bind_policies({"gone": RowPolicy.of({"x": "NULL"}, None)}, wide.backend.services._column_types())
