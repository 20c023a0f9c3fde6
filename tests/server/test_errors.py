"""Every error has one form and one status, and discloses nothing."""

import asyncio
import gzip
import json
import logging
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from featurestore import FeatureStore, Settings, errors
from featurestore.server.error_body import document_of
from featurestore.server.errors import STATUSES, handle_error, status_of
from featurestore.server.middleware import ErrorMiddleware
from tests import shop
from tests.server.conftest import Served, serve

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FeatureStoreError)]


def error_of(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The error of a response, after a check of its status, shape and type."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"type", "message", "details"}
    assert body["error"]["type"] == kind
    assert "Traceback" not in answer.text
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind is not errors.FeatureStoreError])
def test_every_error_has_a_documented_status(kind: type[errors.FeatureStoreError]) -> None:
    error = kind.__new__(kind)
    assert status_of(error) in {400, 401, 403, 404, 409, 413, 422, 501, 503, 507}


def test_what_is_not_implemented_yet_is_501() -> None:
    assert status_of(errors.NotYet("later")) == 501


def test_an_error_without_a_status_is_the_servers_fault() -> None:
    assert status_of(errors.FeatureStoreError("?")) == 500
    assert errors.FeatureStoreError not in STATUSES


def test_messages_of_the_engine_are_not_disclosed() -> None:
    error = errors.RequestError("the SQL does not work: Binder Error: no column x", reason="Binder Error: no column x", field="spine")
    message = "the SQL does not work: the server's log says why"
    assert document_of(error) == {"error": {"type": "RequestError", "message": message, "details": {"field": "spine"}}}


def test_messages_of_libraries_and_the_system_are_not_disclosed() -> None:
    our_own = ValueError("'soon' is not a duration")
    for cause, told in (
        (FileNotFoundError(2, "No such file", "/srv/secret"), "the server's log says why"),
        (httpx.ConnectError("http://inside:9000 refused"), "the server's log says why"),
        (our_own, str(our_own)),
    ):
        error = errors.NotReady(f"the table x cannot be loaded: {cause}; look")
        error.__cause__ = cause
        assert document_of(error)["error"]["message"] == f"the table x cannot be loaded: {told}; look"


@pytest.mark.parametrize(
    "message, cause, told",
    [
        ("the catalog cannot be loaded", "c", "the catalog cannot be loaded"),
        ("the model raised an error for these rows", "the model", "the model raised an error for these rows"),
        ("the catalog cannot be loaded: c", "c", "the catalog cannot be loaded: the server's log says why"),
        ("Redis does not respond (hunter2); check it", "hunter2", "Redis does not respond (the server's log says why); check it"),
        ("column 'x' hunter2", "hunter2", "column 'x' the server's log says why"),
        ("no host 'db1.inside': 'db1.inside'.", "db1.inside", "no host 'the server's log says why': 'the server's log says why'."),
        ("cannot be read: db1\nand more", "db1\n", "cannot be read: the server's log says why\nand more"),
        ("the view customers: user", "user", "the view customers: the server's log says why"),
        ("gone: x", " ", "gone: x"),
    ],
)
def test_a_short_message_of_a_library_is_replaced_only_where_it_is_quoted(message: str, cause: str, told: str) -> None:
    error = errors.NotReady(message)
    error.__cause__ = ConnectionError(cause)
    assert document_of(error)["error"]["message"] == told
    assert document_of(errors.RequestError(message, reason=cause))["error"]["message"] == told


def test_a_cause_without_a_readable_message_discloses_nothing() -> None:
    class Silent(OSError):
        def __str__(self) -> str:
            raise ValueError("no message")

    error = errors.NotReady("the catalog is away")
    error.__cause__ = Silent()
    assert document_of(error)["error"]["message"] == "the catalog is away"


def test_a_missing_package_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    for error, traced in ((errors.MissingExtra("mlflow", "mlflow"), False), (errors.NotReady("the catalog is away"), True)):
        error.__cause__ = ModuleNotFoundError("No module named 'mlflow'", name="mlflow")
        caplog.clear()
        asyncio.run(handle_error(Request({"type": "http", "method": "GET", "path": "/v1/models"}), error))
        [record] = caplog.records
        assert record.getMessage() == f"GET /v1/models: {error}"
        # A filter that masks secrets keeps a traceback as text; tests before this one may have added it.
        assert bool(record.exc_info or record.exc_text) == traced


def test_unknown_routes_and_methods(served: Served) -> None:
    error_of(served.http.get("/v1/nothing"), 404, "NotFound")
    error_of(served.http.get("/v1/services/churn/online"), 405, "MethodNotAllowed")


def test_unknown_names_offer_near_ones(served: Served) -> None:
    error = error_of(served.http.get("/v1/views/customer_order"), 404, "NotFound")
    assert "did you mean 'customer_orders'" in error["message"]
    assert error["details"]["kind"] == "view"


def test_wrong_shapes_name_every_field(served: Served) -> None:
    error = error_of(
        served.http.post("/v1/training-sets", json={"servce": "churn", "spine": {"rows": [], "sql": "SELECT 1"}}), 422, "RequestError"
    )
    assert {problem["field"] for problem in error["details"]["problems"]} == {"service", "timestamp", "spine", "servce"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"entities": 3}', b'{"entities": [3]}'])
def test_malformed_bodies(served: Served, body: bytes) -> None:
    error_of(served.http.post("/v1/services/churn/online", content=body), 422, "RequestError")
    error_of(served.http.post("/v1/plan", content=body, headers={"content-type": "application/json"}), 422, "RequestError")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip"])
def test_a_compressed_body_is_refused(served: Served, encoding: str) -> None:
    body = gzip.compress(json.dumps({"entities": [{"customer_id": 1}]}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = served.http.post("/v1/services/plain/online", content=body, headers=headers)
    assert "send it uncompressed" in error_of(answer, 415, "RequestError")["message"]
    assert answer.headers["accept-encoding"] == "identity"
    whole = {**headers, "Content-Encoding": "identity"}
    assert served.http.post("/v1/services/plain/online", content=gzip.decompress(body), headers=whole).is_success


def test_a_missing_content_type_is_named(served: Served) -> None:
    error = error_of(served.http.post("/v1/plan", content=b'{"definitions": {}}'), 422, "RequestError")
    assert "Content-Type: application/json" in error["message"]


def test_pages_of_other_sites_are_refused(served: Served) -> None:
    for site, status in (("cross-site", 400), ("same-origin", 202)):
        answer = served.http.post("/v1/materializations", headers={"Sec-Fetch-Site": site})
        assert answer.status_code == status


def test_a_wrong_type_is_reported_with_its_position(served: Served) -> None:
    body = {"entities": [{"customer_id": 1}, {"customer_id": "x"}], "request": [{"basket": 1}, {"basket": 2}]}
    error = error_of(served.http.post("/v1/services/churn/online", json=body), 422, "TypeMismatch")
    assert error["message"].startswith("entities[1].customer_id")
    body = {"entities": [{"customer": 1}], "request": [{"basket": 1}]}
    error_of(served.http.post("/v1/services/churn/online", json=body), 400, "RequestError")


def test_a_conflict(own: Served) -> None:
    base = own.http.post("/v1/plan", json={"definitions": {}}).json()["base"]
    entity = {"name": "seller", "keys": "seller_id"}
    assert own.http.post("/v1/apply", json={"definitions": {"entities": [entity]}, "base": base}).is_success
    error = error_of(
        own.http.post("/v1/apply", json={"definitions": {"entities": [{**entity, "owner": "me"}]}, "base": base}), 409, "CommitConflict"
    )
    assert "plan again" in error["message"]


def test_oversized_bodies(own: Served) -> None:
    limits = own.store.settings.model_copy(update={"body_limit": "1MiB", "upload_limit": "2MiB"})
    with FeatureStore(settings=limits) as store, shop.serving(store) as url:
        big = b'{"entities": [' + b" " * (1 << 20) + b"]}"
        error_of(httpx.post(f"{url}/v1/services/churn/online", content=big), 413, "TooLarge")
        error_of(httpx.post(f"{url}/v1/plan", content=iter([big]), headers={"content-type": "application/json"}), 413, "TooLarge")
        form = {"data": {"service": "churn", "timestamp": "asked_at"}, "files": {"spine": b" " * (3 << 20)}}
        error_of(httpx.post(f"{url}/v1/training-sets", **form), 413, "TooLarge")  # type: ignore[arg-type]
        assert httpx.get(f"{url}/healthz").is_success


@pytest.mark.slow
def test_a_token(own: Served) -> None:
    store = FeatureStore(settings=Settings(home=own.store.settings.home, token="s3cret-token"))
    with store, serve(store) as served:
        http = served.http
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret-token"}):
            error = error_of(http.get("/v1/views", headers=given), 401, "Unauthorized")
            assert "s3cret-token" not in error["message"]
        assert http.get("/metrics").status_code == 401
        assert http.get("/v1/views", headers={"Authorization": "Bearer s3cret-token"}).is_success
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert http.get(path).is_success
        for _ in range(2):
            told = http.get("/openapi.json").json()
            assert told["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
            assert told["security"] == [{"token": []}]
            assert told["paths"]["/healthz"]["get"]["security"] == []
            assert "security" not in told["paths"]["/v1/views"]["get"]


def test_an_unexpected_error_is_answered_with_a_request_id(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a secret of ours")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": "/x", "headers": [(b"x-request-id", b"abc")]}
    with caplog.at_level(logging.ERROR):
        asyncio.run(ErrorMiddleware(broken)(scope, receive, send))
    assert sent[0]["status"] == 500
    assert b"abc" in sent[1]["body"]
    assert b"secret" not in sent[1]["body"]
    assert "request abc" in caplog.text
    assert "a secret of ours" in caplog.text
