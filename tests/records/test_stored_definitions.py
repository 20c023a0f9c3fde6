"""Stored definitions are checked when they are used, since others may change them in the catalog."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureStore
from featurestore.errors import Conflict, FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.records import definitions, stored_definition
from featurestore.records.feature_table import DEFINITION
from tests import shop
from tests.server.conftest import serve
from tests.server.test_errors import error_of

HOSTILE = "getenv('HOME')"
AGAIN = "apply its definition again"


def forge(store: FeatureStore, kind: str, name: str, **changed: Any) -> None:
    """Write the current version of a definition again, with other entries in its document."""
    known = definitions.read_registry(store._runtime)
    row = known.get(kind, name)
    definitions.append_to_registry(
        store._runtime, [replace(row, document={**row.document, **changed}, applied_at=row.applied_at + 1)], known.snapshot_id
    )


def features_document(**aggregation: Any) -> dict[str, Any]:
    """The features of the view of orders, with other entries."""
    sums = {"aggregation": {"function": "sum", "column": "amount", "over": ["30d"]}}
    return {"features": {"orders": {"aggregation": {"function": "count", "over": ["7d", "30d"], **aggregation}}, "spend": sums}}


def source(**changed: Any) -> dict[str, Any]:
    """The source of profiles, with other entries."""
    return {"source": {"name": "profiles", "table": "shop.profiles", "timestamp": "updated_at", **changed}}


def refusal(verb: Callable[[], object]) -> FeatureStoreError | None:
    """The error of a verb; None where it needs nothing of what is wrong. Any other exception than one of ours comes out."""
    try:
        verb()
    except FeatureStoreError as error:
        return error
    return None


READ = {name: name for name in ("country", "born", "credit", "seen_at", "score")}
PROFILE, ORDERS = "customer_profile", "customer_orders"
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "row SQL": (PROFILE, {"features": {**READ, "country": HOSTILE}}, "features.country: function getenv"),
    "another feature": (PROFILE, {"features": {**READ, "more": "score"}}, "cannot be read"),
    "an aggregated column": (ORDERS, features_document(column=HOSTILE), "features.orders: column: function getenv"),
    "a number": (ORDERS, features_document(function="last_n", column="amount", n="1), (SELECT 1"), "features.orders: n="),
    "a filter": (PROFILE, source(where=HOSTILE), r"source profiles\.where: function getenv"),
    "a query": (PROFILE, source(table=None, sql="SELECT * FROM read_csv('/x')"), r"source profiles\.sql: "),
    "a check": (PROFILE, {"checks": [{"kind": "that", "name": "c", "sql": HOSTILE}]}, "checks.*getenv"),
    "an entity": (PROFILE, {"entity": {"name": "customer", "keys": ["feature_timestamp"]}}, "cannot be read"),
    "a ttl": (PROFILE, {"ttl": "1 OR true"}, "cannot be read"),
    "no source": (PROFILE, {"source": None}, "cannot be read"),
    "no SQL": (PROFILE, {"features": {"country": {"x": 1}}}, "cannot be read"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_view_that_somebody_changed_is_refused_by_name_until_it_is_applied_again(own_shop: FeatureStore, case: str) -> None:
    view, changed, told = CASES[case]
    forge(own_shop, "view", view, **changed)
    with pytest.raises(Conflict, match=f"(?s)view {view}, version 1, .*{told}.*{AGAIN}") as caught:
        own_shop.materialize(view)
    assert caught.value.details["view"] == view
    # The others are brought up to date.
    assert [run.view for run in own_shop.materialize(failures="return")] == [({PROFILE, ORDERS} - {view}).pop()]
    verbs: list[Callable[[], object]] = [
        lambda: own_shop.view(view),
        own_shop.views,
        own_shop.services,
        lambda: own_shop.online_features("churn", [{"customer_id": 1}], request=[{"basket": 1.0}]),
        lambda: own_shop.training_set("churn", shop.spine(), timestamp="asked_at"),
        lambda: own_shop.maintain(dry_run=True),
    ]
    told_by_name = [error for verb in verbs if (error := refusal(verb)) is not None]
    assert all(view in error.message and AGAIN in error.message for error in told_by_name), told_by_name
    own_shop.apply(shop.DEFINITIONS)
    assert own_shop.materialize(view, failures="return").error is None
    assert own_shop.plan(shop.DEFINITIONS).changed is False
    own_shop.views()
    own_shop.online_features("churn", [{"customer_id": 1}], request=[{"basket": 1.0}])


def test_over_http_it_is_a_conflict(own_shop: FeatureStore) -> None:
    asked: dict[str, Any] = {"entities": [{"customer_id": 1}]}
    spine = {"rows": [{"customer_id": 1, "asked_at": "2026-01-01T00:00:00Z", "basket": 1}]}
    # Before a server starts: a service that it has bound is not read again.
    forge(own_shop, "service", "plain", request=5)
    with serve(own_shop) as served:
        for answer in (served.http.post("/v1/services/plain/online", json=asked), served.http.get("/v1/services/plain")):
            assert "service plain, version 1, cannot be read" in error_of(answer, 409, "Conflict")["message"]
    forge(own_shop, "view", PROFILE, ttl="1 OR true")
    with serve(own_shop) as served:
        get, post = served.http.get, served.http.post
        for answer in (
            post("/v1/services/churn/online", json={**asked, "request": [{"basket": 1}]}),
            post("/v1/point-in-time", json={"service": "churn", "timestamp": "asked_at", "spine": spine}),
            get(f"/v1/views/{PROFILE}"),
            get("/v1/services/churn"),
        ):
            assert f"view {PROFILE}, version 1, cannot be read" in error_of(answer, 409, "Conflict")["message"]
            assert "OR true" not in answer.text
        assert get("/metrics").is_success


def test_a_service_that_somebody_changed_is_applied_again(own_shop: FeatureStore) -> None:
    cases: list[dict[str, Any]] = [{"request": 5}, {"features": [{"view": {}}]}]
    for changed in cases:
        forge(own_shop, "service", "plain", **changed)
        with pytest.raises(Conflict, match=rf"service plain, version \d, .*{AGAIN}"):
            own_shop.service("plain")
        own_shop.apply(shop.DEFINITIONS)
        assert own_shop.service("plain")["features"]


@pytest.mark.parametrize("document", [["x"], 7, None, "x"])
def test_a_row_that_holds_no_document_is_refused_by_name(own_shop: FeatureStore, document: Any) -> None:
    registry = own_shop.catalog.load_table(definitions.registry_table(own_shop._runtime))
    [row] = [row for row in registry.scan().to_arrow().to_pylist() if (row["kind"], row["name"]) == ("view", PROFILE)]
    row |= {"document": json.dumps(document), "applied_at": row["applied_at"] + timedelta(days=1)}
    registry.append(pa.Table.from_pylist([row], registry.schema().as_arrow()))
    with pytest.raises(Conflict, match=f"view {PROFILE}, version 1"):
        own_shop.views()


def test_a_feature_table_with_another_definition_is_left_with_a_word(own_shop: FeatureStore) -> None:
    table = tables.load(own_shop._runtime.catalog, f"features.{PROFILE}_v1")
    tables.set_properties(table, {DEFINITION: json.dumps({"name": PROFILE, "features": {}})}, [])
    notes = {done["table"]: done["note"] for done in own_shop.maintain()}
    assert "change a word of the view's definition" in (notes[f"features.{PROFILE}_v1"] or "")


def test_a_plan_that_is_none_is_refused_with_where_it_lies() -> None:
    with pytest.raises(Conflict, match="the plan in the manifest of training set t"):
        stored_definition.stored_plan({"uses": [{}]}, "the manifest of training set t")
