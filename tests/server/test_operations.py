"""Materializations over HTTP: started, polled, and refused early if they cannot work."""

from typing import Any

import pyarrow as pa
import pytest

from tests import shop
from tests.server.conftest import Served
from tests.server.test_errors import error_of


def run(served: Served, operation: str = "materializations", **body: Any) -> dict[str, Any]:
    """Start an operation, wait for it, and return its state."""
    answer = served.http.post(f"/v1/{operation}", json=body)
    assert answer.status_code == 202, answer.text
    state: dict[str, Any] = served.http.get(answer.json()["url"], params={"wait": 30}).json()
    return state


def test_new_rows_are_materialized_and_published(served: Served) -> None:
    order = pa.table({"customer_id": [77], "amount": [5.0], "ordered_at": pa.array([shop.days(3)], shop.TIME)})
    shop.add(served.store, "shop.orders", order)
    state = run(served, names=["customer_orders"])
    assert state["state"] == "done"
    (done,) = state["result"]
    assert done["view"] == "customer_orders"
    assert done["rows_appended"] > 0
    assert done["snapshot_id"] == served.store.view("customer_orders")["snapshot_id"]
    assert served.store.online_features("plain", [{"customer_id": 77}]).rows[0][0] == 1


def test_all_views_and_nothing_new(served: Served) -> None:
    served.store.materialize()
    answer = served.http.post("/v1/materializations")
    state = served.http.get(answer.json()["url"], params={"wait": 30}).json()
    assert [(done["view"], done["rows_appended"]) for done in state["result"]] == [("customer_orders", 0), ("customer_profile", 0)]


def test_a_materialization_that_cannot_work_is_refused(served: Served) -> None:
    error_of(served.http.post("/v1/materializations", json={"names": ["customer_order"]}), 404, "NotFound")
    error_of(served.http.post("/v1/materializations", json={"start": "yesterday"}), 400, "RequestError")
    error_of(served.http.get("/v1/materializations/materialization-0"), 404, "NotFound")


def test_a_failed_materialization_says_why(served: Served) -> None:
    state = run(served, names=["customer_orders"], start="2999-01-01")
    assert state["state"] == "failed"
    assert state["error"]["type"] == "RequestError"


def test_maintenance(served: Served) -> None:
    state = run(served, "maintenance", older_than="0s", dry_run=True)
    assert state["state"] == "done"
    assert "features.customer_orders_v1" in [table["table"] for table in state["result"]]
    assert served.http.post("/v1/maintenance").status_code == 202
    error_of(served.http.post("/v1/maintenance", json={"older_than": "soon"}), 400, "RequestError")


@pytest.mark.slow
def test_every_operation_is_a_job(served: Served) -> None:
    made = served.store.training_set("plain", shop.spine(), timestamp="asked_at")
    asked: dict[str, dict[str, Any]] = {
        "publications": {"names": ["customer_orders"]},
        "verifications": {"sample": 1},
        "rebuilds": {"id": made.id},
        "comparisons": {"a": made.id, "b": made.id},
        "repairs": {"dry_run": True},
    }
    states = {operation: run(served, operation, **body) for operation, body in asked.items()}
    assert {operation: (state["state"], state["error"]) for operation, state in states.items()} == dict.fromkeys(asked, ("done", None))
    assert states["rebuilds"]["result"]["digest"] == made.digest
    assert states["comparisons"]["result"] == served.store.compare(made.id, made.id).to_dict()
    assert states["repairs"]["result"] == []
    assert [comparison["same"] for comparison in states["verifications"]["result"]] == [True, True]


def test_an_operation_that_cannot_work_is_refused_before_it_is_queued(served: Served) -> None:
    error_of(served.http.post("/v1/rebuilds", json={"id": "plain-0"}), 404, "NotFound")
    error_of(served.http.post("/v1/comparisons", json={"a": "plain-0", "b": "x"}), 404, "NotFound")
    error_of(served.http.post("/v1/comparisons", json={"a": "plain-0"}), 422, "RequestError")
    error_of(served.http.post("/v1/publications", json={"names": ["customer_order"]}), 404, "NotFound")
    error_of(served.http.post("/v1/verifications", json={"sample": 0}), 422, "RequestError")


def test_a_job_is_found_under_its_own_kind_only(served: Served) -> None:
    id = served.http.post("/v1/repairs", json={"dry_run": True}).json()["id"]
    for path in ("materializations", "rebuilds", "comparisons", "maintenance"):
        error_of(served.http.get(f"/v1/{path}/{id}"), 404, "NotFound")
        error_of(served.http.delete(f"/v1/{path}/{id}"), 404, "NotFound")
    assert served.http.get(f"/v1/repairs/{id}", params={"wait": 30}).json()["state"] == "done"
    error_of(served.http.delete(f"/v1/repairs/{id}"), 409, "Conflict")
