"""Every route of the server, called by nobody, by somebody without rights, and by somebody with exactly what it needs."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import pytest
from fastapi import Response
from starlette.routing import Route

from featurestore import Entity, FeatureStore, FeatureView, Mask, RowFilter, Source, TablePolicy
from featurestore.access.privileges import Kind
from featurestore.dsl import documents
from featurestore.dsl.definitions import gather
from featurestore.server.access.needs import Needs
from featurestore.server.app import create_app, engine_app
from featurestore.server.routing import DESCRIPTION_PATH, EngineRoute, StrictRoute, check_routes, get
from tests import shop, worlds
from tests.server.conftest import Served, serve

FILE = "/docs/swagger-ui.css"
NAMES = {
    "name": "customer_orders",
    "service": "churn",
    "version": "1",
    "id": "mine-0",
    "request_id": "0",
    "namespace": "shop",
    "table": "orders",
    "path": "featurestore/views",
    "share": "partners",
    "schema": "features",
    "file": "0.parquet",
    "key": "0",
}
"""What the paths of routes are filled with: things that are there, where a principal might learn that they are."""
CANARIES = ("customer_orders", "customer_profile", "shop.orders", "shop.profiles", "amount", "country", "basket", "1970-02-03", "12.30")
"""What is in the store, and must not be in any answer to those who may not see it."""
RULE = "4242424242"
"""A number in the SQL of policies, which may hold what they hide."""
HIDDEN = ("1970-02-03", "2026-01-02")
"""Values of customer 1, in the columns born and seen_at, which policies hide."""
ROWS = [{"customer_id": 1, "basket": 2.0, "asked_at": shop.days(1).isoformat()}]
JOIN = {"service": "churn", "timestamp": "asked_at", "spine": {"rows": ROWS}}
GRANT = {"privilege": "READ", "on": "VIEW customer_orders", "to": "USER him"}
ASKED = documents.definitions_document(
    gather([FeatureView("asked", Entity("asked", "k"), Source("asked", table="no.such", timestamp="t"), features={"x": "y"})])
)
"""Definitions that nobody may apply without rights."""
BODIES: dict[str, dict[str, Any]] = {
    "/v1/services/{service}/online": {"entities": [{"customer_id": 1}], "request": [{"basket": 1.0}]},
    "/v1/models/{name}/invocations": {"dataframe_records": [{"customer_id": 1}]},
    "/v1/training-sets": {**JOIN, "name": "mine"},
    "/v1/point-in-time": JOIN,
    "/v1/table-writes": {"table": "customer_orders", "rows": [{"customer_id": 1}]},
    "/v1/source-writes": {"source": "customer_orders", "rows": [{"customer_id": 1}]},
    "/v1/grants": GRANT,
    "/v1/plan": {"definitions": ASKED},
    "/v1/apply": {"definitions": ASKED},
    "/v1/tables": {"name": "customer_orders", "keys": ["k"], "schema": {"k": "bigint", "x": "double"}},
    "/v1/shares": {"name": "mine"},
    "/v1/shares/{name}/tables": {"on": "VIEW customer_orders"},
    "/v1/recipients": {"name": "acme"},
    "/v1/recipients/{name}": {"shares": []},
    "/v1/recipients/{name}/keys": {"expires": "1d"},
    "/v1/materializations": {"names": ["customer_orders"]},
    "/v1/publications": {"names": ["customer_orders"]},
    "/v1/rebuilds": {"id": "mine-0"},
    "/v1/comparisons": {"a": "mine-0", "b": "mine-1"},
}
"""The bodies of routes that look at them before they can say whether the caller may."""
QUERIES = {"DELETE /v1/grants": GRANT, "DELETE /v1/shares/{name}/tables": {"on": "VIEW customer_orders"}}
"""The query parameters that routes demand."""
JOBS = ("/v1/materializations/{id}", "/v1/publications/{id}", "/v1/rebuilds/{id}", "/v1/comparisons/{id}")
"""Routes of jobs that only those who asked for them may see: for others there are none."""
ICEBERG = {
    "/iceberg/v1/featurestore/namespaces": (200, None),
    "/iceberg/v1/featurestore/namespaces/{namespace}": (404, "NoSuchNamespaceException"),
    "/iceberg/v1/featurestore/namespaces/{namespace}/tables": (404, "NoSuchNamespaceException"),
    "/iceberg/v1/featurestore/namespaces/{namespace}/tables/{table}": (404, "NoSuchTableException"),
}
"""What the routes of Iceberg's REST protocol answer to those who may read nothing: there is nothing."""
LISTS = ("/v1/views", "/v1/services", "/v1/models", "/v1/training-sets", "/v1/grants", "/v1/policies", "/v1/shares")
"""Routes that refuse nobody, and answer what the caller may see."""


class Call(NamedTuple):
    """A route with its path filled, and what it needs."""

    method: str
    path: str
    template: str
    needs: Needs
    in_worker: bool

    def send(self, http: httpx.Client, token: str | None = None) -> httpx.Response:
        """The answer."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        query = QUERIES.get(f"{self.method} {self.template}")
        if self.method == "POST" and self.template in BODIES:
            return http.post(self.path, json=BODIES[self.template], headers=headers)
        return http.request(self.method, self.path, params=query, headers={**headers, "Content-Type": "application/json"})

    def is_list(self) -> bool:
        """Whether it refuses nobody."""
        return self.method == "GET" and self.template in LISTS

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


def routes() -> list[StrictRoute]:
    """All routes of a server."""
    app = create_app(FeatureStore(home=Path("/nonexistent")))
    return [route for route in app.routes if isinstance(route, StrictRoute)]


def fill(parameter: re.Match[str]) -> str:
    """The value of a parameter."""
    return NAMES[parameter[1]]


def calls() -> list[Call]:
    """A call of every route."""
    return [
        Call(
            method,
            FILE if route.path == "/docs/{name}" else re.sub(r"\{(\w+)(?::\w+)?\}", fill, route.path),
            re.sub(r":\w+\}", "}", route.path),
            route.needs,
            isinstance(route, EngineRoute),
        )
        for route in routes()
        for method in sorted(route.methods or ())
    ]


def parameters(chosen: Callable[[Call], bool]) -> list[Any]:
    """The chosen calls, as parameters of a test; slow are those that a worker process has to refuse, which takes seconds to start."""
    return [
        pytest.param(call, id=str(call), marks=[pytest.mark.slow] if call.in_worker and call.needs is Needs.VERB else [])
        for call in calls()
        if chosen(call)
    ]


class Keyed(NamedTuple):
    """A server of a shop with keys, its store, and the tokens of somebody without and with rights."""

    served: Served
    store: FeatureStore
    stranger: str
    him: str


@pytest.fixture(scope="module")
def keyed(shop_template: worlds.Template) -> Iterator[Keyed]:
    """That server."""
    with shop_template.opened() as store:
        store.create_key("her", administrator=True)
        stranger, him = (store.create_key(name, "analysts" if name == "him" else ()).token for name in ("stranger", "him"))
        # With a grant on something else: without any, a server refuses before it looks at what is asked for.
        store.grant("USE", "MODEL unrelated", "USER stranger")
        with serve(store) as served:
            yield Keyed(served, store, stranger, him)


UNDER = {"masked": ["unfiltered"], "filtered": ["unmasked"], "both": [], "neither": ["unfiltered", "unmasked"]}
"""Principals with all grants there are, by the rules that they are under, and their groups."""


@pytest.fixture(scope="module")
def ruled(keyed: Keyed) -> Iterator[dict[str, str]]:
    """The tokens of `UNDER`, while masks and filters are in force on the profiles, and on the table that they are from."""
    store = keyed.store
    masks = {name: Mask(f"CASE WHEN customer_id = {RULE} THEN {name} END", unless=["unmasked"]) for name in ("born", "seen_at")}
    rows = RowFilter(f"country <> 'AT' AND customer_id <> {RULE}", unless=["unfiltered"])
    tokens = {name: store.create_key(name, groups).token for name, groups in UNDER.items()}
    for name in UNDER:
        for privilege in ("MANAGE", "APPROVE_MODEL", "SHARE"):
            store.grant(privilege, "CATALOG", f"USER {name}")
    store.apply([*shop.DEFINITIONS, *(TablePolicy(name, masks=masks, rows=rows) for name in ("shop.profiles", "customer_profile"))])
    online = next(call for call in calls() if call.template == "/v1/services/{service}/online")._replace(path="/v1/services/churn/online")
    told = {name: name != "neither" for name in UNDER}
    wait_for(lambda: {name: is_hidden(online.send(keyed.served.http, tokens[name])) for name in UNDER} == told)
    yield tokens
    store.apply([TablePolicy(name) for name in ("shop.profiles", "customer_profile")])


def is_hidden(answer: httpx.Response) -> bool:
    """Whether it answers, without what policies hide."""
    return answer.is_success and not [value for value in HIDDEN if value in text_of(answer)]


def text_of(answer: httpx.Response) -> str:
    """All that an answer tells, with the rows of a stream."""
    if "arrow" not in answer.headers.get("content-type", ""):
        return f"{answer.headers}{answer.text}"
    return json.dumps(pa.ipc.open_stream(answer.content).read_all().to_pylist(), default=str)


@pytest.fixture(scope="module")
def built(keyed: Keyed, ruled: dict[str, str]) -> str:
    """The id of a training set that was made under no policy."""
    return keyed.store.training_set("churn", shop.spine(), "asked_at", name="mine").id


TOLD = ("/v1/point-in-time", "/v1/services/{service}/online", "/v1/training-sets/{id}/data", "/v1/training-sets/{id}/statistics")
"""Routes that tell values to whoever is under no policy, so that the search can fail."""
REFUSED = {
    "/iceberg/v1/featurestore/namespaces/{namespace}/tables/{table}": 404,
    "/v1/training-sets/{id}/data": 403,
    "/v1/training-sets/{id}/files": 403,
    "/v1/training-sets/{id}/statistics": 403,
}
"""How routes of what was made under other policies answer."""


@pytest.mark.parametrize("call", parameters(lambda call: call.needs is not Needs.NOTHING))
def test_no_route_tells_what_a_policy_hides(keyed: Keyed, ruled: dict[str, str], built: str, call: Call) -> None:
    path = call.path
    # They may remove what the other calls ask for.
    if call.method != "DELETE":
        path = path.replace("customer_orders", "churn" if "service" in call.template else "customer_profile")
    if call.template.startswith("/iceberg/"):
        path = path.replace("/orders", "/profiles")
    call = call._replace(path=path.replace("mine-0", built) if call.method == "GET" else path)
    for name in ("masked", "filtered", "both"):
        answer = call.send(keyed.served.http, ruled[name])
        assert not [value for value in (*HIDDEN, RULE) if value in text_of(answer)]
        if call.method in ("GET", "HEAD") and call.template in REFUSED:
            assert answer.status_code == REFUSED[call.template]
    if call.template in TOLD and call.method != "DELETE":
        shown = text_of(call.send(keyed.served.http, ruled["neither"]))
        assert [value for value in HIDDEN if value in shown] == list(HIDDEN), "the search can fail"


def test_there_are_routes_of_all_needs() -> None:
    assert len(calls()) > 60
    assert {call.needs.word for call in calls()} == {"nothing", "credentials", "verb", "administrator", "privilege", "recipient"}


@pytest.mark.parametrize("call", parameters(lambda call: True))
def test_a_route_answers_only_those_who_may(keyed: Keyed, call: Call) -> None:
    http = keyed.served.http
    for token in (None, keyed.stranger):
        answer = call.send(http, token)
        told = f"{answer.headers}{answer.text}"
        if call.needs is Needs.NOTHING or (call.needs is Needs.CREDENTIALS and token):
            assert answer.status_code not in (401, 403)
        elif token and call.is_list():
            assert [listed.get("on") for listed in answer.json()] == (["MODEL unrelated"] if call.template == "/v1/grants" else [])
        else:
            assert (answer.status_code, error_type(answer)) == refusal(call, token)
            # What the caller asked for itself may be repeated.
            for asked in (
                "VIEW customer_orders",
                "MODEL customer_orders",
                "SERVICE customer_orders",
                "SOURCE customer_orders",
                "table 'shop.orders'",
            ):
                told = told.replace(asked, "")
        assert not [canary for canary in CANARIES if canary in told]


def refusal(call: Call, token: str | None) -> tuple[int, str | None]:
    """The status and the type of the answer to somebody who may not do this; an answer to HEAD has no type."""
    if call.template.startswith("/iceberg/"):
        status, name = ICEBERG[call.template] if token else (401, "NotAuthorizedException")
        return status, None if call.method == "HEAD" else name
    if not token or call.needs is Needs.RECIPIENT:
        # Recipients of shares have tokens of their own, and nobody else's are known there.
        protocol = call.template.startswith("/delta-sharing/")
        return 401, None if call.method == "HEAD" else "UNAUTHENTICATED" if protocol else "Unauthorized"
    return (404, "NotFound") if call.template in JOBS else (403, "Forbidden")


def error_type(answer: httpx.Response) -> str | None:
    """The type of the error in an answer, if it has one."""
    if not answer.is_error or not answer.content:
        return None
    body = answer.json()
    return str(body["errorCode"] if "errorCode" in body else body["error"]["type"])


@pytest.mark.parametrize("call", parameters(lambda call: call.needs.privilege is not None and call.needs.kind is not Kind.MODEL))
def test_a_privilege_is_enough(keyed: Keyed, call: Call) -> None:
    check_privilege(keyed, call)


def check_privilege(keyed: Keyed, call: Call, privilege: str | None = None) -> None:
    """Check that the privilege that a route names, or another one, is enough, with no other grant, and needed."""
    needs = call.needs
    privilege = privilege or str(needs.privilege)
    name = "" if needs.parameter is None else NAMES[needs.parameter]
    on = f"{needs.kind} {name}".strip()
    # A worker has followed the revocation of the test before when it refuses; the web process follows within a second.
    wait_for(lambda: call.send(keyed.served.http, keyed.him).status_code == 403)
    keyed.store.grant(privilege, on, "GROUP analysts")
    try:
        wait_for(lambda: call.send(keyed.served.http, keyed.him).status_code not in (401, 403))
        assert call.send(keyed.served.http, keyed.stranger).status_code == 403
    finally:
        keyed.store.revoke(privilege, on, "GROUP analysts")
    wait_for(lambda: call.send(keyed.served.http, keyed.him).status_code == 403)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until servers have followed, which takes up to a second, and on a busy machine longer."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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


def test_without_any_grant_a_body_is_not_read(keyed: Keyed) -> None:
    token = keyed.store.create_key("nobody").token
    wait_for(lambda: keyed.served.http.get("/v2", headers={"Authorization": f"Bearer {token}"}).is_success)
    answer = keyed.served.http.post(
        "/v1/grants", content=b"not JSON", headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "Forbidden")
    assert "none on anything" in answer.text
