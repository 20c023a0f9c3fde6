"""Lookups as Arrow: the same answers as JSON, with types."""

import random
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pytest

from featurestore.client import decoding
from featurestore.pipelines.online_lookup.online_features import OnlineFeatures
from featurestore.server.media_types import ARROW, JSON
from featurestore.values.arrow_types import ARROW_TYPES
from featurestore.values.value_types import ZONED
from tests import shop
from tests.server.conftest import Served
from tests.server.test_errors import error_of
from tests.server.wide import MADE, entities, key_of

SERVICES = {"all": ("id", "name", "other"), "few": ("id", "name"), "single": ("id",), "made": ("id", "name")}


def ask(served: Served, service: str, rows: list[dict[str, Any]], accept: str, **params: str) -> httpx.Response:
    """The answer for these entities in the form that is asked for."""
    body = {"entities": rows, **({"request": [{"amount": index / 2} for index in range(len(rows))]} if service == "made" else {})}
    answer = served.http.post(f"/v1/services/{service}/online", json=body, headers={"accept": accept}, params=params)
    assert answer.is_success, answer.text
    return answer


def read_table(answer: httpx.Response) -> pa.Table:
    """The rows of an Arrow answer."""
    assert answer.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    table.validate(full=True)
    return table


@pytest.mark.parametrize("service", SERVICES)
def test_it_equals_json_in_every_type(wide: Served, service: str) -> None:
    chance = random.Random(service)
    for count in (0, 1, 5, 60):
        rows = entities(chance, count, SERVICES[service])
        from_json = decoding.decode_online_features(ask(wide, service, rows, JSON).json())
        from_arrow = decoding.decode_online_stream(read_table(ask(wide, service, rows, ARROW)))
        # Texts tell -0.0 from 0.0, and NaN equals NaN.
        assert repr(from_arrow.rows) == repr(from_json.rows)
        for name in OnlineFeatures.__dataclass_fields__.keys() - {"rows"}:
            assert getattr(from_arrow, name) == getattr(from_json, name), name
        here = wide.store.online_features(service, rows, [{"amount": index / 2} for index in range(count)] if service == "made" else None)
        assert from_arrow.to_arrow().schema == here.to_arrow().schema
        assert repr(from_arrow.to_arrow().to_pylist()) == repr(here.to_arrow().to_pylist())


def test_types_are_those_of_the_join(wide: Served) -> None:
    rows = entities(random.Random(1), 3, SERVICES["made"])
    spine = pa.table(
        {
            **{name: [row[name] for row in rows] for name in SERVICES["made"]},
            "amount": [0.0, 0.5, 1.0],
            "at": pa.array([shop.NOW] * 3, ARROW_TYPES[ZONED]),
        }
    )
    joined = wide.store.point_in_time("made", spine, "at").drop_columns(["id", "name", "amount", "at"])
    table = read_table(ask(wide, "made", rows, ARROW, full="false"))
    assert table.column_names == joined.column_names
    # The item of a list has another name in each.
    for given, expected in zip(table.schema.types, joined.schema.types, strict=True):
        assert getattr(given, "value_type", given) == getattr(expected, "value_type", expected)
    assert len({str(table.schema.field(name).type) for name in MADE}) >= len(MADE) - 1


def test_a_short_answer_has_features_only(wide: Served) -> None:
    present = [{"id": 1, "name": "a1", "other": str(key_of(1))}]
    full, brief = (read_table(ask(wide, "all", present, ARROW, full=full)) for full in ("true", "false"))
    assert brief.column_names == [name for name in full.column_names if not name.startswith("__fs_")]
    assert [name for name in full.column_names if name.startswith("__fs_")] == [
        *(f"__fs_status.{label}" for label in ("pairs", "again", "third")),
        *(f"__fs_timestamp.{label}" for label in ("pairs", "again", "third")),
    ]
    assert full.schema.field("__fs_timestamp.pairs").type == ARROW_TYPES[ZONED]
    head = orjson.loads(brief.schema.metadata[b"featurestore"])
    body = ask(wide, "all", present, JSON).json()
    assert head == {name: body[name] for name in head}
    assert head.keys() == {"features", "snapshots", "watermarks", "edition", "types"}


@pytest.mark.parametrize(
    "accept, kind",
    [
        (ARROW, ARROW),
        (ARROW.upper(), ARROW),
        (f"{ARROW}, {JSON};q=0.5", ARROW),
        (f"{JSON}, {ARROW}", ARROW),
        (f"{JSON}, {ARROW};q=0.5", JSON),
        (f"{ARROW};q=0", JSON),
        (f"{ARROW};q=much", JSON),
        ("*/*", JSON),
        ("text/html", JSON),
        ("", JSON),
    ],
)
def test_the_accept_header_chooses(wide: Served, accept: str, kind: str) -> None:
    assert ask(wide, "single", [{"id": 1}], accept).headers["content-type"] == kind


def test_errors_are_json(wide: Served) -> None:
    answer = wide.http.post("/v1/services/single/online", json={"entities": [{"idd": 1}]}, headers={"accept": ARROW})
    error_of(answer, 400, "RequestError")
    assert answer.headers["content-type"] == JSON
