"""Lookups over HTTP: JSON values, and changes by other processes."""

from typing import Any

import pytest

from featurestore import Expression, FeatureService, FeatureStore, FeatureView
from tests import shop
from tests.server.conftest import Served
from tests.server.test_errors import error_of

URL = "/v1/services/churn/online"
PLAIN = "/v1/services/plain/online"


def look_up(served: Served, url: str, ids: list[Any], **params: Any) -> dict[str, Any]:
    """The response for these customers."""
    body = {"entities": [{"customer_id": id} for id in ids], **({"request": [{"basket": 40}] * len(ids)} if url == URL else {})}
    answer = served.http.post(url, json=body, params=params)
    assert answer.is_success, answer.text
    answer_body: dict[str, Any] = answer.json()
    return answer_body


def test_values_of_every_type(served: Served) -> None:
    answer = look_up(served, URL, [1, 2, 99, None])
    assert answer["features"] == [
        *("orders_7d", "orders_30d", "spend_30d", "country", "born", "credit", "seen_at", "score", "basket_share"),
    ]
    assert answer["rows"][0] == [2, 2, 80.0, "AT", "1970-02-03", "12.30", "2026-01-02T03:04:05.000006Z", "NaN", 0.5]
    assert answer["rows"][1] == [0, 1, 20.0, None, None, None, None, None, 2.0]
    assert answer["rows"][2] == [None] * 9
    assert answer["rows"][3] == [None] * 9
    assert answer["status"] == {
        "customer_orders": ["PRESENT", "PRESENT", "NOT_FOUND", "NOT_FOUND"],
        "customer_profile": ["PRESENT", "EXPIRED", "NOT_FOUND", "NOT_FOUND"],
    }
    assert answer["timestamps"]["customer_profile"][0] == shop.days(30).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    assert answer["timestamps"]["customer_profile"][2] is None
    assert answer["types"][4:6] == ["DATE", "DECIMAL(10,2)"]


def test_snapshots_are_text_and_those_of_the_tables(served: Served) -> None:
    answer = look_up(served, URL, [1])
    tables = {view["table"].removeprefix("features."): view["snapshot_id"] for view in served.store.views()}
    assert answer["snapshots"] == tables
    assert all(isinstance(snapshot, str) for snapshot in tables.values())


def test_short_answers(served: Served) -> None:
    assert set(look_up(served, URL, [1], full="false")) == {"features", "rows", "snapshots", "watermarks", "edition"}


@pytest.mark.parametrize("count", [0, 1, 2000])
def test_any_number_of_entities_in_order(served: Served, count: int) -> None:
    answer = look_up(served, PLAIN, [1 if index % 2 else 99 for index in range(count)])
    assert [row[0] for row in answer["rows"]] == [2 if index % 2 else None for index in range(count)]


def test_it_equals_the_store(served: Served) -> None:
    entities: list[dict[str, Any]] = [{"customer_id": 1}, {"customer_id": 2}]
    request: list[dict[str, Any]] = [{"basket": 1.5}, {"basket": None}]
    answer = served.http.post(URL, json={"entities": entities, "request": request}).json()
    here = served.store.online_features("churn", entities, request)
    assert answer["status"] == here.to_dict()["status"]
    assert [row[0] for row in answer["rows"]] == [row[0] for row in here.rows]
    assert answer["rows"][1][-1] is None


def test_a_derived_time_outside_of_the_calendar_is_a_request_error(own: Served) -> None:
    since = {"since": "to_timestamp(seconds)"}
    own.store.apply([FeatureService("since", features=[shop.customer_orders], request={"seconds": "double"}, derived=since)])
    ask = {"entities": [{"customer_id": 1}]}
    for at, spelled in ((253_402_300_799, "9999-12-31T23:59:59.000000Z"), (-62_135_596_800, "0001-01-01T00:00:00.000000Z")):
        answer = own.http.post("/v1/services/since/online", json={**ask, "request": [{"seconds": at}]})
        assert answer.json()["rows"][0][-1] == spelled
    for at in (253_402_300_800, -62_135_596_801, 10**12, 10**15):
        error = error_of(own.http.post("/v1/services/since/online", json={**ask, "request": [{"seconds": at}]}), 400, "RequestError")
        assert error["message"].startswith("the derived feature 'since' (TO_TIMESTAMP(seconds)), which is TIMESTAMP WITH TIME ZONE, cannot")


@pytest.mark.slow
def test_definitions_applied_by_another_process_are_served(own: Served) -> None:
    assert look_up(own, PLAIN, [1])["features"][0] == "orders_7d"
    ratio = FeatureView(
        "customer_orders",
        entity=shop.customer,
        source=shop.orders,
        every="1d",
        features={**shop.customer_orders.declared, "ratio": Expression("orders_7d / nullif(orders_30d, 0)")},
    )
    with FeatureStore(settings=own.store.settings) as other:
        other.apply([FeatureService("plain", features=[ratio["ratio"]])])
        assert look_up(own, PLAIN, [1])["features"][0] == "orders_7d", "the new version has no rows yet"
        other.materialize("customer_orders")
    answer = look_up(own, PLAIN, [1])
    assert answer["features"] == ["ratio"]
    assert answer["rows"] == [[1.0]]


@pytest.mark.slow
def test_new_rows_are_seen(own: Served) -> None:
    before = look_up(own, PLAIN, [1])
    shop.add(own.store, "shop.orders", shop.order_rows().slice(3, 1))
    with FeatureStore(settings=own.store.settings) as other:
        other.materialize("customer_orders")
    after = look_up(own, PLAIN, [1])
    assert (before["rows"][0][0], after["rows"][0][0]) == (2, 3)
    assert before["snapshots"]["customer_orders_v1"] != after["snapshots"]["customer_orders_v1"]
