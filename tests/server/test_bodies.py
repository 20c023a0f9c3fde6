"""Request bodies with repeated fields, unlimited nesting or very many errors are refused with short messages."""

import pytest

from tests.server.conftest import Served
from tests.server.test_errors import error_of

JSON = {"content-type": "application/json"}
BODIES = [
    b'{"entities": [{"customer_id": 1, "customer_id": 2}], "request": [{"basket": 1}]}',
    b'{"entities": [{"customer_id": 1}], "entities": [{"customer_id": 2}], "request": [{"basket": 1}]}',
    b'{"entities": [{"customer_id": 1}], "request": [{"basket": 1, "basket" : 2}]}',
    b'{"entities": [{"customer_id": 1}], "request": [{"basket": 1, "b\\u0061sket": 2}]}',
]


@pytest.mark.parametrize("body", BODIES)
def test_a_repeated_key_is_refused(served: Served, body: bytes) -> None:
    error = error_of(served.http.post("/v1/services/churn/online", content=body, headers=JSON), 422, "RequestError")
    assert "is given twice" in error["message"]


def test_a_repeated_key_is_refused_on_every_route(served: Served) -> None:
    for path, body in (
        ("/v1/plan", b'{"definitions": {"entities": [{"name": "a", "keys": "k", "tags": {"t": "1", "t": "2"}}]}}'),
        ("/v1/apply", b'{"definitions": {}, "base": null, "base": null}'),
        ("/v1/materializations", b'{"names": [], "names": []}'),
        ("/v1/maintenance", b'{"dry_run": true, "dry_run": false}'),
        ("/v1/training-sets", b'{"service": "churn", "timestamp": "t", "spine": {"rows": [{"t": 1, "t": 2}]}}'),
        ("/v1/point-in-time", b'{"service": "churn", "timestamp": "t", "spine": {"rows": [{"x": {"t": 1, "t": 2}}]}}'),
        ("/v1/models/any/invocations", b'{"dataframe_records": [{"a": 1, "a": 2}]}'),
    ):
        assert "is given twice" in error_of(served.http.post(path, content=body, headers=JSON), 422, "RequestError")["message"], path


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/services/churn/online", {"entities": [3] * 500}),
        ("/v1/services/churn/online", {"entities": [{}] * 20_000}),
        ("/v1/services/churn/online", {str(number): 1 for number in range(500)}),
        ("/v1/plan", {"definitions": {"entities": [{}] * 500}}),
        ("/v1/plan", {"definitions": {"entities": [{"name": f"1{number}", "keys": "k"} for number in range(500)]}}),
        ("/v1/plan", {"definitions": {"entities": [3] * 100_000}}),
        ("/v1/models/any/invocations", {"dataframe_records": [3] * 500}),
        ("/v1/training-sets", {"service": "churn", "timestamp": "t", "spine": {"rows": [3] * 500}}),
        ("/v1/training-sets", {"service": "churn", "timestamp": "t", "spine": {"rows": [{str(number): 1} for number in range(5_000)]}}),
        ("/v1/services/churn/online", {"entities": [{"x" * 100_000: 1}], "request": [{"basket": 1}]}),
        ("/v1/services/churn/online", {"entities": [{"customer_id": "x" * 100_000}], "request": [{"basket": 1}]}),
        ("/v1/point-in-time", {"service": "y" * 100_000, "timestamp": "t", "spine": {"rows": []}}),
    ],
)
def test_errors_have_a_maximum_length(served: Served, path: str, body: object) -> None:
    answer = served.http.post(path, json=body)
    assert 400 <= answer.status_code < 500, answer.text[:300]
    details = answer.json()["error"]["details"]
    assert all(len(value) <= 20 for value in details.values() if isinstance(value, list))
    assert len(answer.content) < 20_000


def test_the_rest_of_a_list_is_counted(served: Served) -> None:
    error = error_of(served.http.post("/v1/services/churn/online", json={"entities": [3] * 500}), 422, "RequestError")
    assert len(error["details"]["problems"]) == 20
    assert error["details"]["more"] == {"problems": 480}
    assert error["message"].endswith("; and 480 more")


@pytest.mark.parametrize(
    "deep", ["[" * 100_000, '{"a":' * 100_000, "[" * 150 + "]" * 150, '{"entities": ' + "[" * 5_000 + "]" * 5_000 + "}"]
)
def test_nesting_is_limited(served: Served, deep: str) -> None:
    for path in ("/v1/services/churn/online", "/v1/plan", "/v1/materializations", "/v1/training-sets", "/v1/models/any/invocations"):
        error_of(served.http.post(path, content=deep.encode(), headers=JSON), 422, "RequestError")


FORMS = [
    b"",
    b"--x",
    b"--x\r\n\r\n",
    b"x" * 1_000,
    b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\xff\r\n--x--\r\n',
    b"--x\r\n:\r\n",
]
KINDS = ["multipart/form-data; boundary=x", "multipart/form-data", "multipart/form-data; boundary=x; charset=idna"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_malformed_forms(served: Served, form: bytes, kind: str) -> None:
    answer = served.http.post("/v1/training-sets", content=form, headers={"content-type": kind})
    assert answer.status_code in (400, 422), answer.text


def test_a_repeated_form_field_is_refused(served: Served) -> None:
    fields = {"service": ["churn", "other"], "timestamp": "asked_at"}
    answer = served.http.post("/v1/training-sets", data=fields, files={"spine": b"PAR1"})
    assert "is repeated" in error_of(answer, 400, "RequestError")["message"]


def test_snapshots_are_numbers_of_64_bits(served: Served) -> None:
    for id in ("²", "9" * 400, 2**63, -1, "1.5", ""):
        body = {"service": "churn", "timestamp": "t", "spine": {"rows": []}, "snapshots": {"customer_orders_v1": id}}
        error_of(served.http.post("/v1/training-sets", json=body), 422, "RequestError")
