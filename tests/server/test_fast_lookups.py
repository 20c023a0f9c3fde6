"""Lookups that bypass the framework return the same bytes as the regular route, which `?full=True` uses."""

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import redis

from featurestore import FeatureService
from featurestore.access.rights import Rights
from featurestore.pipelines.online_lookup.lookup_json import Answer
from featurestore.server.fast_lookups import FastLookups
from tests import shop
from tests.online.redis.redis_server import empty_store, redis_server, running_redis
from tests.server.conftest import Served, serve
from tests.server.wide import TEXTS, entities, key_of, open_wide


@pytest.fixture(scope="module", params=["lmdb", "redis"])
def wide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The store of `wide` behind a real server, over either online store."""
    folder = tmp_path_factory.mktemp("wide")
    with ExitStack() as stack:
        online = stack.enter_context(empty_store(stack.enter_context(running_redis(folder)))) if request.param == "redis" else None
        yield stack.enter_context(serve(stack.enter_context(open_wide(folder, online))))


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request that reached the fast path was answered there."""
    seen: list[bool] = []
    answer = FastLookups._answer

    async def watched(self: FastLookups, service: str, content: bytes, full: bool, rights: Rights) -> Answer | None:
        found = await answer(self, service, content, full, rights)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(FastLookups, "_answer", watched)
    return seen


def both(served: Served, service: str, body: Any, full: str = "true") -> tuple[httpx.Response, httpx.Response]:
    """The responses of the fast path, if it has one, and of the regular route."""
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    url = f"/v1/services/{service}/online"
    headers = {"content-type": "application/json"}
    fast = served.http.post(url, content=content, headers=headers, params={} if full == "true" else {"full": full})
    return fast, served.http.post(url, content=content, headers=headers, params={"full": full.upper()})


SERVICES = {"all": ("id", "name", "other"), "few": ("id", "name"), "single": ("id",), "sums": ("id", "name")}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("full", ["true", "false"])
def test_the_bytes_are_those_of_the_ordinary_route(wide: Served, answered: list[bool], service: str, full: str) -> None:
    chance = random.Random(full)
    wide.store.online_features(service, entities(chance, 1, SERVICES[service]))
    fast_ones = 0
    for count in (1, 2, 3, 7, 8, 9, 40, 100):
        for _ in range(3):
            answered.clear()
            fast, ordinary = both(wide, service, {"entities": entities(chance, count, SERVICES[service])}, full)
            assert (fast.status_code, ordinary.status_code) == (200, 200), (fast.text, ordinary.text)
            assert fast.content == ordinary.content
            assert {**fast.headers, "date": ""} == {**ordinary.headers, "date": ""}
            fast_ones += answered == [True]
    # Texts with a backslash, or with the name of a key, are left to the ordinary route.
    assert fast_ones >= (24 if service == "single" else 3)


def fields(chance: random.Random, count: int) -> list[dict[str, Any]]:
    values: dict[str, tuple[Any, ...]] = {
        "amount": (None, 1.5, -0.25, 3, 1e300, -7),
        "count": (None, 0, 7, -(1 << 62)),
        "word": (None, "", "x", "\u00e4"),
        "sure": (None, True, False),
    }
    return [{name: chance.choice(choices) for name, choices in values.items()} for _ in range(count)]


@pytest.mark.parametrize("full", ["true", "false"])
def test_derived_features_are_those_of_the_ordinary_route(wide: Served, answered: list[bool], full: str) -> None:
    chance = random.Random(full)
    wide.store.online_features("derived", entities(chance, 1, ("id", "name")), fields(chance, 1))
    answered.clear()
    for _ in range(40):
        count = chance.choice((1, 1, 1, 2, 5))
        body = {"entities": entities(chance, count, ("id", "name")), "request": fields(chance, count)}
        fast, ordinary = both(wide, "derived", body, full)
        assert fast.status_code == ordinary.status_code
        assert fast.content == ordinary.content
    assert answered.count(True) >= 5


def test_rows_that_all_exist_are_written_in_one_step(wide: Served, answered: list[bool]) -> None:
    present = [{"id": index, "name": f"{TEXTS[index % len(TEXTS)]}{index}", "other": str(key_of(index))} for index in (1, 3, 4, 6)]
    wide.store.online_features("all", present)
    for rows in (present[:1], present * 5):
        fast, ordinary = both(wide, "all", {"entities": rows})
        assert fast.content == ordinary.content
        assert answered[-1]
        assert set(fast.json()["status"]["pairs"]) == {"PRESENT"}


WRONG: list[Any] = [
    b"",
    b"[]",
    b"{",
    b'{"entities": []}',
    b'{"entities": [{"id": 1}], "entities": [{"id": 2}]}',
    b'{"entities": [{"id": 1, "id": 2}]}',
    b'{"entities": [{"id": 1, "\\u0069d": 2}]}',
    b'{"entities": [{"id": 1}], "request": null}',
    b'{"entities": [{"id": 1}], "more": 1}',
    b'{"entities": [{"id": 1}]} x',
    {"entities": [{}]},
    {"entities": [{"id": "1"}]},
    {"entities": [{"id": 1.0}]},
    {"entities": [{"id": 1.5}]},
    {"entities": [{"id": True}]},
    {"entities": [{"id": 1 << 63}]},
    {"entities": [{"id": -(1 << 63)}]},
    {"entities": [{"id": 10**400}]},
    {"entities": [{"id": 1, "name": "x"}]},
    {"entities": [{"idd": 1}]},
    {"entities": [1]},
    {"entities": [None]},
    {"entities": {"id": 1}},
    {"entities": [{"id": [1]}]},
    {"entities": [{"id": 1}], "request": [{}]},
    {"entities": [{"id": 1}], "request": [{"basket": 1}]},
]


@pytest.mark.parametrize("body", WRONG, ids=lambda body: str(body)[:60])
def test_invalid_and_rare_requests_are_left_to_the_regular_route(wide: Served, body: Any) -> None:
    wide.store.online_features("single", [{"id": 1}])
    fast, ordinary = both(wide, "single", body)
    assert fast.status_code == ordinary.status_code
    assert fast.content == ordinary.content


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}])
def test_bodies_that_are_not_declared_as_json_are_refused(wide: Served, answered: list[bool], headers: dict[str, str]) -> None:
    response = wide.http.post("/v1/services/single/online", content=b'{"entities": [{"id": 1}]}', headers=headers)
    assert response.status_code == 422, response.text
    assert "Content-Type: application/json" in response.text
    assert answered == []


def test_other_services_methods_and_parameters_are_left_to_the_application(wide: Served, answered: list[bool]) -> None:
    body = {"entities": [{"id": 1}]}
    assert wide.http.post("/v1/services/sin/online", json=body).status_code == 404
    assert wide.http.get("/v1/services/single/online").status_code == 405
    brief = wide.http.post("/v1/services/single/online?full=0", json=body).json()
    assert brief.keys() == {
        "features",
        "rows",
        "snapshots",
        "watermarks",
        "edition",
    }
    assert wide.http.post("/v1/services/single/online", json=body, headers={"host": "elsewhere.example"}).status_code == 400
    many = {"entities": [{"id": index} for index in range(4000)]}
    assert len(wide.http.post("/v1/services/single/online", json=many).json()["rows"]) == 4000
    assert True not in answered


def test_requests_and_rows_are_counted(wide: Served) -> None:
    def counted(text: str) -> dict[str, float]:
        lines = [
            line.rpartition(" ")
            for line in text.splitlines()
            if line.startswith(("featurestore_requests_total", "featurestore_online_rows"))
        ]
        return {name: float(value) for name, _, value in lines if "online" in name}

    wide.store.online_features("single", [{"id": 1}])
    before = counted(wide.http.get("/metrics").text)
    for _ in range(3):
        wide.http.post("/v1/services/single/online", json={"entities": [{"id": 1}, {"id": 999}]})
    after = counted(wide.http.get("/metrics").text)
    more = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    route = 'method="POST",route="/v1/services/{service}/online",status="200"'
    assert more == {
        f"featurestore_requests_total{{{route}}}": 3,
        'featurestore_online_rows_total{service="single",status="PRESENT",view="ids"}': 3,
        'featurestore_online_rows_total{service="single",status="NOT_FOUND",view="ids"}': 3,
    }


def test_a_new_version_is_served_at_once(tmp_path: Path, answered: list[bool]) -> None:
    with shop.open_shop(tmp_path / "home") as store, serve(store) as served:
        body = {"entities": [{"customer_id": 1}]}
        url = "/v1/services/plain/online"
        features = [served.http.post(url, json=body).json()["features"] for _ in range(2)]
        assert answered == [False, True]
        store.apply([FeatureService("plain", features=[shop.customer_orders["orders_7d"]])])
        assert served.http.post(url, json=body).json()["features"] == ["orders_7d"] != features[1]
        shop.add(store, "shop.orders", shop.order_rows().slice(0, 1).set_column(1, "amount", pa.array([1.0])))
        store.materialize()
        snapshots = {view["table"].removeprefix("features."): view["snapshot_id"] for view in store.views()}
        for _ in range(2):
            assert served.http.post(url, json=body).json()["snapshots"].items() <= snapshots.items()


def test_a_lost_or_unavailable_redis_is_not_ready(tmp_path: Path, answered: list[bool]) -> None:
    with ExitStack() as stack:
        running = ExitStack()
        address = stack.enter_context(running).enter_context(redis_server(tmp_path))
        store = stack.enter_context(shop.open_shop(tmp_path / "home", online=f"redis://{address}/0", online_fill=False))
        served = stack.enter_context(serve(store))

        def ask() -> httpx.Response:
            return served.http.post("/v1/services/plain/online", json={"entities": [{"customer_id": 1}]})

        assert [ask().status_code for _ in range(2)] == [200, 200]
        assert answered == [False, True]
        with redis.Redis.from_url(f"redis://{address}/0") as client:
            client.flushall()
        lost = ask()
        assert (lost.status_code, lost.json()["error"]["type"]) == (503, "NotReady")
        assert "customer_orders" in lost.json()["error"]["message"]
        store.publish(full=True)
        assert [ask().status_code for _ in range(2)] == [200, 200]
        assert answered[-1]
        running.close()
        gone = ask()
        assert (gone.status_code, gone.json()["error"]["type"]) == (503, "NotReady")
        assert f"redis://{address}/0 does not respond" in gone.json()["error"]["message"]
