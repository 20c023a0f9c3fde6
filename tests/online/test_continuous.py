"""Lookups of continuous views at the instant of the question, against the as-of join of a later run at the same instant, bit by bit."""

import random
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, Expression, FeatureService, FeatureStore, FeatureView, Settings, Source, agg, connect
from featurestore.compiler.row_policy import BoundPolicy, RowPolicy
from featurestore.online import ahead
from featurestore.pipelines.online_lookup.lookup import lookup
from featurestore.pipelines.online_lookup.online_features import OnlineFeatures
from featurestore.records.serving_version import bind_policies
from tests import shop
from tests.online.templates import OnlineTemplate
from tests.waiting import wait_until
from tests.worlds import STAMP, load_source

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
LENGTHS = {"1s": SECOND, "4s": 4 * SECOND}
KEYS = range(6)
ENTITIES = [{"k": k, "j": 1} for k in KEYS]
TYPES = {"k": pa.int64(), "at": STAMP, "known": STAMP, "x": pa.float64(), "d": pa.decimal128(9, 2), "s": pa.string(), "b": pa.bool_()}
SCHEMA = pa.schema(list(TYPES.items()))
FUNCTIONS = ("count", "count_distinct", "sum", "mean", "min", "max", "stddev", "percentile", "first", "last", "last_n")


def events(chance: random.Random, lower: int, upper: int, number: int) -> pa.Table:
    """Events with many ties and values that are hard to add."""
    places = [lower, upper - 1, upper, *(chance.randrange(lower, upper + 1) for _ in range(20))]
    rows = [
        {
            "k": chance.choice(KEYS[:5]),
            "at": at,
            "known": chance.choice([None, at, at + chance.randrange(3 * SECOND)]),
            "x": chance.choice([None, 0.1, -0.1, 1e16, 1.0, -1e16, -0.0, 1e-30, 3.5]),
            "d": chance.choice([None, Decimal("1.25"), Decimal("-7.10")]),
            "s": chance.choice([None, "", "ä", "b"]),
            "b": chance.random() < 0.5,
        }
        for at in chance.choices(places, k=number)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def make_view(created: bool) -> FeatureView:
    source = Source("known" if created else "s", table="raw.s", timestamp="at", created="known" if created else None)
    features: dict[str, Any] = {"rows": agg.count(over=[*LENGTHS, "all"]), "double": Expression("rows_1s * 2")}
    for function in FUNCTIONS:
        extra: dict[str, Any] = {"n": 2} if function == "last_n" else {"q": 0.3} if function == "percentile" else {}
        features[function] = getattr(agg, function)("x", over=list(LENGTHS), **extra)
        features[f"{function}_kept"] = getattr(agg, function)("d", over="4s", where="b", **extra)
    features["text"] = agg.last("s", over="1s")
    features["texts"] = agg.last_n("s", n=3)
    features["latest"] = agg.sum("x", last=[1, 3])
    features["life"] = agg.mean("d", over="all")
    name = "created" if created else "plain"
    return FeatureView(name, entity=Entity("e", keys="k"), source=source, every="continuous", features=features)


def fill(store: FeatureStore) -> None:
    chance = random.Random(7)
    load_source(store, "raw.s", events(chance, START, START + 9 * SECOND, 160))
    for view in (make_view(False), make_view(True)):
        store.apply([FeatureService(view.name, features=[view, view.aliased("other", keys={"k": "j"})])])
    store.materialize(end=moment(START + 9 * SECOND))


@pytest.fixture
def store(template: OnlineTemplate) -> Iterator[FeatureStore]:
    with template.opened() as store:
        yield store


def moment(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def ask(store: FeatureStore, service: str, at: int, policies: Mapping[str, BoundPolicy] | None = None) -> OnlineFeatures:
    plan = store._services.current(service)
    return lookup(store._runtime, plan, ENTITIES, None, store._online_tables, at=at, row_policies=policies or {})


def instants(table: pa.Table, lower: int, upper: int) -> list[int]:
    """Every instant at which a value may change, and the ones beside it."""
    entered = {int(at.timestamp() * SECOND) + 1 for at in table["at"].to_pylist()}
    changes = entered | {at + length for at in entered for length in LENGTHS.values()}
    return sorted({at + shift for at in changes for shift in (-1, 0, 1) if lower <= at + shift <= upper} | {lower, upper})


def check(store: FeatureStore, service: str, answers: dict[int, OnlineFeatures]) -> None:
    """Every answer equals the as-of join at its instant."""
    spine = pa.table(
        {"k": list(KEYS) * len(answers), "j": [1] * len(KEYS) * len(answers), "t": pa.array([at for at in answers for _ in KEYS], STAMP)}
    )
    joined = store.point_in_time(service, spine, "t").to_pylist()
    for number, (at, answer) in enumerate(answers.items()):
        for place, row in enumerate(answer.rows):
            expected = joined[number * len(KEYS) + place]
            named = dict(zip(answer.features, row, strict=True))
            assert repr(named) == repr({name: expected[name] for name in named}), (at, place)
        assert answer.status[service] == tuple("NOT_FOUND" if row[0] is None else "PRESENT" for row in answer.rows)


@pytest.mark.slow
def test_an_answer_is_the_as_of_join_at_its_instant(store: FeatureStore) -> None:
    end, last = START + 9 * SECOND, START + 20 * SECOND
    table = store.catalog.load_table("raw.s")
    asked = instants(table.scan().to_arrow(), end, last)
    answers = {service: {at: ask(store, service, at) for at in asked} for service in ("plain", "created")}
    assert len({repr(answer.rows) for answer in answers["plain"].values()}) > 15
    assert [(row.missing, row.changed, row.extra) for row in store.verify_online()] == [(0, 0, 0)] * 2
    assert store.materialize(end=moment(last))[0].rows_appended > 0
    for service, found in answers.items():
        check(store, service, found)


def test_a_row_filter_hides_the_row_of_the_instant(store: FeatureStore) -> None:
    """And a mask is computed from it."""
    policy = RowPolicy.of({"rows_4s": "rows_all * 10 + rows_1s"}, "rows_1s > 0")
    policies = bind_policies({"plain_v1": policy}, store.backend.services._column_types())
    place = store._services.current("plain").feature_names.index("rows_4s")
    hidden = set()
    for at in range(START + 9 * SECOND, START + 12 * SECOND, SECOND // 4):
        whole, seen = ask(store, "plain", at), ask(store, "plain", at, policies)
        for every, row, status in zip(whole.rows, seen.rows, seen.status["plain"], strict=True):
            assert status == ("PRESENT" if every[0] else "NOT_FOUND")
            assert row[place] == (every[2] * 10 + every[0] if every[0] else None)
            hidden.add(status)
    assert len(hidden) == 2


@pytest.mark.slow
def test_late_and_deleted_events_change_what_is_ahead(store: FeatureStore) -> None:
    end, last = START + 10 * SECOND, START + 21 * SECOND
    table = store.catalog.load_table("raw.s")
    table.delete("k = 0")
    table.append(events(random.Random(8), START + 5 * SECOND, end, 40))
    store.materialize(end=moment(end))
    answers = {at: ask(store, "plain", at) for at in instants(table.refresh().scan().to_arrow(), end, last)}
    store.publish(full=True)
    assert repr({at: ask(store, "plain", at).rows for at in answers}) == repr({at: answer.rows for at, answer in answers.items()})
    store.materialize(end=moment(last))
    check(store, "plain", answers)


def test_what_the_rows_ahead_do_not_reach_is_stale(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    end = START + 9 * SECOND
    monkeypatch.setattr("featurestore.pipelines.materialization.changes_ahead.MOST_ROWS", 3)
    store.publish("plain", full=True)
    answers = [ask(store, "plain", at) for at in (end, START + 20 * SECOND)]
    assert answers[0].status["plain"] == ("PRESENT",) * 5 + ("NOT_FOUND",)
    assert "STALE" in answers[1].status["plain"]
    # A release before rows ahead, or a source that has changed since the run.
    store._runtime.online.drop(ahead.ahead_of("plain_v1"))
    assert ask(store, "plain", end).status["plain"] == answers[0].status["plain"]
    assert ask(store, "plain", end + 1).status["plain"] == ("STALE",) * 5 + ("NOT_FOUND",)
    assert store.verify_online("plain")[0].missing == 5
    store.publish("plain")
    assert store.verify_online("plain")[0].same


def test_an_erased_key_has_no_rows_ahead(store: FeatureStore) -> None:
    store.erase("e", 1)
    assert [ask(store, service, START + 9 * SECOND + 5).status[service][1] for service in ("plain", "created")] == ["NOT_FOUND"] * 2
    assert ask(store, "plain", START + 9 * SECOND + 5).status["plain"][2] == "PRESENT"


@pytest.mark.slow
def test_answers_of_a_server_follow_the_clock(tmp_path: Path) -> None:
    """The same over HTTP, where answers are kept: these change with time alone."""
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        now = datetime.now(UTC)
        rows = pa.table({"k": [1, 2], "at": pa.array([now - timedelta(seconds=50), now - timedelta(seconds=5)], STAMP), "x": [2.0, 3.0]})
        load_source(store, "raw.s", rows)
        features = {"n": agg.count(over="1m"), "sum": agg.sum("x", over="1m")}
        view = FeatureView(
            "v", entity=Entity("e", keys="k"), source=Source("s", table="raw.s", timestamp="at"), every="continuous", features=features
        )
        store.apply([FeatureService("seen", features=[view], derived={"twice": "n_1m * 2"})])
        store.materialize()
        with shop.serving(store) as url, connect(url) as remote:
            keys = [{"k": 1}, {"k": 2}]
            assert remote.online_features("seen", keys).rows[0] == (1, 2.0, 2)
            wait_until(lambda: remote.online_features("seen", keys).rows[0] == (0, None, 0))
