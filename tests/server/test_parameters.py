"""Every parameter and header of every route, and bodies of predictions, with hostile values."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS  # isort: skip - before anything else imports MLflow

from featurestore import models
from tests import shop
from tests.server.conftest import Served, serve

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

ANSWER_BYTES = 16 << 10
"""Maximum size of an error response, in bytes."""
NASTY = [
    *("", " ", "..", "../../../etc/passwd", "..%2f..%2fetc", "a//b", "%00", "\x00", "\r\nX-A: b", "\x1b[31m"),
    *("'; DROP TABLE x; --", "\"; COPY (SELECT 1) TO '/x'; --", "\u202e\U0001f600", "\udcff", "<script>", "{0.__class__}"),
    *("-1", "1e400", "nan", "inf", "9" * 5_000, "1_0", "٣", "null", "[]"),
    *("http://127.0.0.1:1/x", "file:///etc/passwd", "models:/x", "models:/x@", "models:/../../etc", "runs:/../x"),
    *("x" * 20_000, "é" * 3_000, "/".join("a" * 5_000), "__fs_row"),
]
HEADERS = [
    *("accept", "accept-encoding", "authorization", "content-type", "cookie", "expect", "host", "if-match", "origin", "range", "referer"),
    *("sec-fetch-site", "te", "traceparent", "upgrade", "user-agent", "x-forwarded-for", "x-http-method-override", "x-request-id"),
]
MANY = 300_000
BODIES = [
    *("", "null", "1", '"x"', "[]", "{}", "NaN", "{", '{"dataframe_records": null}', '{"dataframe_records": {}}'),
    *('{"dataframe_records": [1]}', '{"dataframe_records": [[]]}', '{"dataframe_records": [{}]}', '{"dataframe_records": [{"": 1}]}'),
    *('{"inputs": [1]}', '{"instances": [1]}', '{"dataframe_split": {}}', '{"dataframe_split": {"columns": [], "data": []}}'),
    '{"dataframe_split": {"columns": [], "data": [[], []]}}',
    '{"dataframe_split": {"columns": ["customer_id", "customer_id"], "data": [[1, 2]]}}',
    '{"dataframe_split": {"columns": "ab", "data": [[1, 2]]}}',
    '{"dataframe_split": {"columns": [1], "data": [[1]]}}',
    '{"dataframe_split": {"columns": [["a"]], "data": [[1]]}}',
    '{"dataframe_split": {"columns": ["customer_id"], "data": [[1]], "index": [[{}]]}}',
    json.dumps({"dataframe_split": {"columns": [f"c{number}" for number in range(MANY)], "data": [[]]}}),
    '{"dataframe_records": [{' + ",".join(f'"c{number}":1' for number in range(MANY)) + "}]}",
    '{"dataframe_split": {"columns": ["customer_id"], "data": [[' + "1," * MANY + "1]]}}",
]
VALUES = [
    *("null", "true", "NaN", "Infinity", "-Infinity", "1e400", "-1e400"),
    *("1e999999999", "-0.0", "0.5", "9" * 400, "9" * 5_000, str(2**63), str(-(2**63))),
    *('""', '"x"', '"1"', '"NaN"', r'"\u0000"', r'"\ud800"'),
    *(f'"{"x" * 100_000}"', "[]", "{}", "[[[1]]]", '{"a": 1}', "[" * 150 + "]" * 150),
]
FIELDS = ["customer_id", "basket", "orders_7d", "spend_30d", "basket_share", "nothing", "__class__"]


@dataclass(frozen=True)
class World:
    """A served shop with a training set and a model, and texts that no response may disclose."""

    served: Served
    training_set: str
    secrets: tuple[str, ...]

    def look(self, answer: httpx.Response, what: object) -> None:
        """Fine, or refused in few words; never a fault of ours, and never with a path of the server."""
        text = answer.content.decode("utf-8", "replace")
        assert 200 <= answer.status_code < 500, (what, answer.status_code, text[:500])
        if answer.is_error and (text or answer.request.method != "HEAD"):
            # What the parser of HTTP does not take never comes to the application.
            assert text == "Invalid HTTP request received." or set(answer.json()) in ({"error"}, {"errorCode", "message"}), what
            assert len(answer.content) <= ANSWER_BYTES, (what, len(answer.content), text[:300])
        assert "Traceback" not in text, what
        # Where the files of a training set lie is what that route is asked for.
        if not (answer.is_success and answer.url.path.endswith("/files")):
            assert not [secret for secret in self.secrets if secret in text], (what, text[:500])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The shop with a training set in two parts and a small model."""
    home = tmp_path_factory.mktemp("shop")
    with shop.open_shop(home) as store, serve(store) as served:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        rows = pd.DataFrame({"orders_7d": [2.0, 0.0, np.nan], "spend_30d": [80.0, 0.0, np.nan], "basket": [1.0, 1.0, 1.0]})
        tree = DecisionTreeRegressor(max_depth=2).fit(rows, [80.0, 0.0, 0.0])
        models.log_model(tree, training_set=made, registered_model_name="spender", store=store, pip_requirements=["scikit-learn"])
        yield World(served, made.id, (str(home), os.getcwd(), sys.prefix, str(Path.home()) + "/", "root:x:0"))


def good(world: World) -> dict[str, str]:
    """For each parameter, a valid value with which its route changes nothing."""
    made = world.training_set
    names = {
        "service": "plain",
        "name": "customer_orders",
        "version": "1",
        "id": made,
        "a": made,
        "b": made,
        "request_id": "none-0",
        "namespace": "shop",
        "table": "orders",
        "share": "partners",
        "schema": "shop",
        "file": "none",
        "key": "none",
    }
    return {**names, "dry_run": "true", "wait": "0", "format": "arrow", "columns": "customer_id", "full": "true"}


def url(path: str, values: dict[str, str], query: dict[str, str]) -> str:
    """A path with its parameters encoded as by a client; lone surrogates become the bytes that they stand for."""

    def quote_path(text: str) -> str:
        return quote(text, safe="", errors="surrogateescape")

    for name, value in values.items():
        path = path.replace("{" + name + "}", quote_path(value))
    return path + ("?" + "&".join(f"{name}={quote_path(value)}" for name, value in query.items()) if query else "")


def routes(world: World) -> Iterator[tuple[str, str, dict[str, Any], dict[str, str], dict[str, str]]]:
    """Each method of each path, with valid values for the parameters of its path and query."""
    known = good(world)
    for path, methods in world.served.http.get("/openapi.json").json()["paths"].items():
        for method, route in methods.items():
            places = {
                place: [parameter for parameter in route.get("parameters", ()) if parameter["in"] == place] for place in ("path", "query")
            }
            values = {parameter["name"]: known[parameter["name"]] for parameter in places["path"]}
            if "models" in path:
                values = {**values, "name": "spender"}
            yield method, path, route, values, {parameter["name"]: known.get(parameter["name"], "") for parameter in places["query"]}


BODY = {"entities": [{"customer_id": 1}]}


def test_every_parameter(world: World) -> None:
    """Each parameter gets all values. Routes of the same part of the API that have it in the same place read it alike, and share them."""
    users: dict[tuple[str, str, str], list[tuple[Any, ...]]] = {}
    for method, path, route, values, query in routes(world):
        body: Any = {"dataframe_records": [{"customer_id": 1, "basket": 1.0}]} if "models" in path else BODY
        sent = body if "requestBody" in route else None
        for place, names in (("path", values), ("query", query)):
            for name in names:
                users.setdefault((path.split("/")[2], place, name), []).append((method, path, values, query, sent))
    asked = 0
    for (_, _, name), sharing in users.items():
        for number, nasty in enumerate(NASTY):
            method, path, values, query, sent = sharing[number % len(sharing)]
            # Only a removal that looks: some of these are names of what there is.
            if method == "delete" and name == "dry_run" and nasty in ("0", "false"):
                continue
            parts = [{**part, name: nasty} if name in part else part for part in (values, query)]
            answer = world.served.http.request(method, url(path, *parts), json=sent)
            world.look(answer, (method, path, name, nasty[:100]))
            asked += 1
    assert max(map(len, users.values())) < len(NASTY) / 2, "each route gets some"
    assert asked > 700
    assert world.served.http.get("/v1/views/customer_orders").is_success


def test_repeated_parameters(world: World) -> None:
    for method, path, _, values, query in routes(world):
        if method != "get":
            continue
        for count in (2, 500):
            for name in query:
                tail = "&".join(f"{name}={query.get(name, 'x')}" for _ in range(count))
                world.look(world.served.http.get(url(path, values, query) + ("&" if query else "?") + tail), (path, name, count))


def test_every_header(world: World) -> None:
    for header in HEADERS:
        for nasty in NASTY:
            value = "".join(letter for letter in nasty if letter not in "\r\n\x00").encode("utf-8", "surrogateescape")[:8_000].strip()
            if header == "expect" and value == b"":
                continue
            headers = {b"content-type": b"application/json", header.encode(): value}
            answer = world.served.http.post("/v1/services/plain/online", content=json.dumps(BODY), headers=headers)
            world.look(answer, (header, value[:100]))


@pytest.mark.parametrize("field", FIELDS)
def test_every_value_of_a_prediction(world: World, field: str) -> None:
    for value in VALUES:
        record = {"customer_id": "1", "basket": "1.0", field: value}
        pairs = ", ".join(f'"{name}": {text}' for name, text in record.items())
        answer = world.served.http.post(
            "/v1/models/spender/invocations",
            content=f'{{"dataframe_records": [{{{pairs}}}]}}',
            headers={"content-type": "application/json"},
        )
        world.look(answer, (field, value[:100]))


def test_every_form_of_a_prediction(world: World) -> None:
    for content in BODIES:
        headers = {"content-type": "application/json"}
        world.look(world.served.http.post("/v1/models/spender/invocations", content=content, headers=headers), content[:100])
