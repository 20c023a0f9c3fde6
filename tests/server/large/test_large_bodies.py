"""Large JSON bodies are read by another process, with the same result, and without delaying other requests."""

import math
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import orjson
import pytest
from fastapi.exceptions import RequestValidationError

from featurestore.server import json_body
from featurestore.server.large.reader import LargeBodies
from featurestore.server.requests import InvocationBody, JoinBody, OnlineBody, PlanBody, WriteBody
from featurestore.server.requests.governance import PromotionBody
from featurestore.values.json_numbers import NotANumber, WrittenNumber
from tests.server.conftest import Served
from tests.server.test_errors import error_of

LISTS = b'{"entities": [{"a": [' + b"[]," * 1_600_000 + b"1]}]}"


@pytest.fixture(scope="module")
def reader() -> Iterator[LargeBodies]:
    """The reader of large bodies, with its process started."""
    opened = LargeBodies()
    opened.parse(OnlineBody, b'{"entities": []}')
    yield opened
    opened.close()


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": number, "at": "2026-01-01T00:00:00Z", "x": number / 7, "more": [number, None, {"y": "\u00e9"}]} for number in range(count)
    ]


def test_a_body_comes_as_it_was_sent(reader: LargeBodies) -> None:
    join = orjson.dumps({"service": "s", "timestamp": "at", "snapshots": {"t_v1": "7"}, "spine": {"rows": rows(20_000)}})
    assert len(join) > json_body.IN_THREAD_BYTES
    assert reader.parse(JoinBody, join) == json_body.parse(JoinBody, join)
    split = orjson.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[number, "x"] for number in range(10_000)]}})
    assert reader.parse(InvocationBody, split) == json_body.parse(InvocationBody, split)
    view = {"name": "v", "entity": {"name": "e", "keys": ["k"]}, "source": {"name": "s"}, "features": {"a": "a"}}
    plan = orjson.dumps({"definitions": {"views": [{**view, "name": f"v{number}"} for number in range(500)]}})
    assert reader.parse(PlanBody, plan) == json_body.parse(PlanBody, plan)


def test_numbers_are_exactly_those_that_were_written(reader: LargeBodies) -> None:
    body = reader.parse(OnlineBody, b'{"entities": [{"a": 0.12345678901234567890123, "b": NaN, "c": 123456789012345678901234567890}]}')
    (entity,) = body.entities
    assert (type(entity["a"]), entity["a"]) == (WrittenNumber, Decimal("0.12345678901234567890123"))
    assert (type(entity["b"]), math.isnan(entity["b"])) == (NotANumber, True)
    assert entity["c"] == 123456789012345678901234567890


@pytest.mark.parametrize(
    "content, told",
    [
        (b'{"entities": [' + b"{}," * 2_000_000, "Invalid JSON: EOF"),
        (b'{"entities": [{"a": 1, "a": 2}]}', "given twice"),
        (b'{"entities": [{' + b",".join(b'"k%d":1' % number for number in range(10_001)) + b"}]}", "an object of 10001 keys"),
        (b'{"entities": [{"a": [[' + b"1," * 200_000 + b"1]" + b",1" * 200 + b"]}]}", "an entry of 200003 values"),
        (b'{"entities": [{"a": ' + b"[" * 300 + b"]" * 300 + b"}]}", "recursion limit"),
    ],
)
def test_a_body_with_too_many_values_is_refused_with_a_message(reader: LargeBodies, content: bytes, told: str) -> None:
    with pytest.raises(RequestValidationError) as caught:
        reader.parse(OnlineBody, content)
    (problem,) = caught.value.errors()
    assert told in problem["msg"]


def test_other_requests_do_not_wait_while_a_large_body_is_read(reader: LargeBodies) -> None:
    """A body that takes seconds to parse: in this process, that would block every thread."""
    told: list[str] = []

    def read() -> None:
        try:
            reader.parse(OnlineBody, LISTS)
        except RequestValidationError as error:
            told.extend(problem["msg"] for problem in error.errors())

    longest, last = 0.0, time.monotonic()
    work = threading.Thread(target=read)
    work.start()
    while work.is_alive():
        work.join(0.001)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert "over 3000000 values" in told[0]
    assert longest < 0.5


@pytest.mark.slow
def test_over_http(served: Served) -> None:
    headers = {"content-type": "application/json"}
    many = b'{"entities": [' + b'{"customer_id": 1}, ' * 40_000 + b"{}]}"
    error = error_of(served.http.post("/v1/services/plain/online", content=many, headers=headers), 413, "TooLarge")
    assert error["message"].startswith("the request has 40001 entities, more than 10000, the limit of entities_limit")
    entities = [{"customer_id": 1}] * 10_000
    padded = orjson.dumps({"entities": entities}, option=orjson.OPT_INDENT_2) + b" " * json_body.IN_THREAD_BYTES
    answer = served.http.post("/v1/services/plain/online?full=false", content=padded, headers=headers)
    assert len(answer.json()["rows"]) == 10_000


def test_models_are_found_in_any_module(reader: LargeBodies) -> None:
    written = reader.parse(WriteBody, orjson.dumps({"rows": [{"k": number} for number in range(30_000)], "table": "t", "mode": "append"}))
    assert written.rows[-1] == {"k": 29_999}
    promoted = reader.parse(PromotionBody, orjson.dumps({"version": "1", "approver": "her"}))
    assert promoted.version == "1"
