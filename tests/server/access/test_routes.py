"""Every route of the server, called by nobody, by somebody without rights, and by an administrator."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import Response
from starlette.routing import Route

from featurestore import FeatureStore
from featurestore.server.access.needs import Needs
from featurestore.server.app import create_app, engine_app
from featurestore.server.routing import DESCRIPTION_PATH, StrictRoute, check_routes, get
from tests import worlds
from tests.server.conftest import Served, serve

NAMES = {"name": "customer_orders", "service": "churn", "version": "1", "id": "churn-0", "request_id": "0"}
"""What the paths of routes are filled with: things that are there, where a principal might learn that they are."""
FILE = "/docs/swagger-ui.css"
CANARIES = ("customer_orders", "customer_profile", "shop.orders", "shop.profiles", "amount", "country", "basket", "1970-02-03", "12.30")
"""What is in the store, and must not be in any answer to those who may not see it."""


def routes() -> list[StrictRoute]:
    """All routes of a server."""
    app = create_app(FeatureStore(home=Path("/nonexistent")))
    return [route for route in app.routes if isinstance(route, StrictRoute)]


def fill(parameter: re.Match[str]) -> str:
    """The value of a parameter."""
    return NAMES[parameter[1]]


def calls() -> list[tuple[str, str, Needs]]:
    """Method, path and needs of every route."""
    return [
        (method, FILE if route.path == "/docs/{name}" else re.sub(r"\{(\w+)(?::\w+)?\}", fill, route.path), route.needs)
        for route in routes()
        for method in sorted(route.methods or ())
    ]


@pytest.fixture(scope="module")
def keyed(shop_template: worlds.Template) -> Iterator[tuple[Served, str]]:
    """A server of a shop with keys, and the token of somebody without any right."""
    with shop_template.opened() as store:
        store.create_key("her", administrator=True)
        token = store.create_key("him", "analysts").token
        with serve(store) as served:
            yield served, token


def test_there_are_routes_of_all_needs() -> None:
    assert len(calls()) > 60
    assert {needs for _, _, needs in calls()} == set(Needs)


@pytest.mark.parametrize("call", calls(), ids=lambda call: f"{call[0]} {call[1]}")
def test_a_route_answers_only_those_who_may(keyed: tuple[Served, str], call: tuple[str, str, Needs]) -> None:
    (served, token), (method, path, needs) = keyed, call
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        # Without a body: whether a request is right is looked at when it may be sent at all.
        answer = served.http.request(method, path, headers={**headers, "Content-Type": "application/json"})
        if needs is Needs.NOTHING:
            assert answer.status_code not in (401, 403)
            continue
        if needs is Needs.CREDENTIALS and headers:
            assert answer.status_code not in (401, 403)
        else:
            kind = (403, "Forbidden") if headers else (401, "Unauthorized")
            assert (answer.status_code, answer.json()["error"]["type"]) == kind
        told = f"{answer.headers}{answer.text}"
        assert not [canary for canary in CANARIES if canary in told]


def test_fast_paths_ask_too(keyed: tuple[Served, str]) -> None:
    """Requests that are complete, so that they would be answered in front of the framework."""
    served, token = keyed
    bodies = {
        "/v1/services/churn/online": {"entities": [{"customer_id": 1}], "request": [{"basket": 1.0}]},
        "/v1/models/churn/invocations": {"dataframe_records": [{"customer_id": 1}]},
    }
    for path, body in bodies.items():
        assert served.http.post(path, json=body).status_code == 401
        answer = served.http.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 403
        assert not [canary for canary in CANARIES if canary in answer.text]


def test_workers_have_the_same_needs(tmp_path: Path) -> None:
    store = FeatureStore(home=tmp_path)
    engine = {(route.path, route.name): route.needs for route in engine_app(store).routes if isinstance(route, StrictRoute)}
    web = {(route.path, route.name): route.needs for route in routes()}
    assert engine
    assert engine.items() <= web.items()


def test_an_application_with_a_route_that_needs_nothing_by_mistake_does_not_start() -> None:
    async def endpoint() -> Response:
        return Response()

    with pytest.raises(TypeError, match="needs"):
        get("/v1/new", endpoint, "new")  # type: ignore[call-arg]
    for route, said in (
        (Route("/v1/new", endpoint), "does not say what it needs"),
        (get("/v1/new", endpoint, "new", needs=Needs.NOTHING), "is not an open path"),
    ):
        with pytest.raises(ValueError, match=said):
            check_routes([route], ["/healthz"])
    with pytest.raises(ValueError, match="is an open path"):
        check_routes([get("/healthz", endpoint, "new", needs=Needs.CREDENTIALS)], ["/healthz"])
    check_routes([Route(DESCRIPTION_PATH, endpoint), get("/healthz", endpoint, "new", needs=Needs.NOTHING)], [DESCRIPTION_PATH, "/healthz"])
