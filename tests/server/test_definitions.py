"""Definitions over HTTP: they are shown as applied, and applied as JSON."""

from dataclasses import replace

from featurestore import Entity, check
from featurestore.dsl.check import Check
from featurestore.dsl.definitions import gather
from featurestore.dsl.documents import definitions_document
from tests import shop
from tests.server.conftest import Served
from tests.server.test_errors import error_of


def test_definitions_are_shown_as_in_the_store(served: Served) -> None:
    store, http = served.store, served.http
    assert http.get("/v1/entities").json() == store.entities()
    assert http.get("/v1/sources").json() == store.sources()
    assert http.get("/v1/views").json() == store.views()
    assert http.get("/v1/views/customer_orders").json() == store.view("customer_orders")
    assert http.get("/v1/services").json() == store.services()
    assert http.get("/v1/services/churn").json() == store.service("churn")


def test_documents_of_what_is_applied_change_nothing(served: Served) -> None:
    document = definitions_document(gather(shop.DEFINITIONS))
    plan = served.http.post("/v1/plan", json={"definitions": document}).json()
    assert plan["changed"] is False
    assert {step["action"] for step in plan["steps"]} == {"unchanged"}


def test_applying(own: Served) -> None:
    document = definitions_document(gather([Entity("seller", "seller_id")]))
    planned = own.http.post("/v1/plan", json={"definitions": document}).json()
    assert [(step["action"], step["kind"], step["name"]) for step in planned["steps"]] == [("create", "entity", "seller")]
    assert own.http.post("/v1/apply", json={"definitions": document, "base": planned["base"]}).json()["changed"] is True
    assert "seller" in [entity["name"] for entity in own.store.entities()]
    assert own.http.post("/v1/apply", json={"definitions": document}).json()["changed"] is False


def test_checks_travel_with_their_views(own: Served) -> None:
    every_kind: list[Check] = [
        check.that("spend_30d >= 0"),
        check.not_null("spend_30d", at_least=0.5),
        check.rows(at_most=9),
        check.fresh(within="2d"),
    ]
    strict = replace(shop.customer_orders, checks=every_kind)
    document = definitions_document(gather([strict]))
    applied = own.http.post("/v1/apply", json={"definitions": document}).json()
    assert {step["name"]: step["action"] for step in applied["steps"]}["customer_orders"] == "update words"
    assert own.http.get("/v1/views/customer_orders").json()["checks"] == {kind_of_check.name: "error" for kind_of_check in every_kind}
    assert not own.store.plan([strict]).changed
    document["views"][0]["checks"] = [{"kind": "fresh", "within": "2d"}]
    assert own.http.post("/v1/apply", json={"definitions": document}).is_success
    assert own.store.view("customer_orders")["checks"] == {"fresh(2d)": "error"}
    document["views"][0]["checks"] = [{"kind": "fresh", "withn": "2d"}, {"kind": "that", "sql": "spent > 0"}]
    error = error_of(own.http.post("/v1/plan", json={"definitions": document}), 422, "RequestError")
    assert "views[0].checks[0].fresh.withn: Extra inputs are not permitted" in error["message"]
    document["views"][0]["checks"].pop(0)
    error = error_of(own.http.post("/v1/plan", json={"definitions": document}), 422, "DefinitionError")
    assert "checks[0]: no key or feature 'spent'" in error["message"]


def test_every_problem_is_reported(served: Served) -> None:
    document = definitions_document(gather(shop.DEFINITIONS))
    document["views"][0]["features"]["orders"]["aggregation"]["function"] = "counts"
    document["views"][1]["features"]["born"] = "no_such_column"
    error = error_of(served.http.post("/v1/plan", json={"definitions": document}), 422, "DefinitionError")
    assert {problem["object"] for problem in error["details"]["problems"]} >= {"view 'customer_orders'", "view 'customer_profile'"}
