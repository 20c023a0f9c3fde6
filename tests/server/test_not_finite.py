"""NaN and infinities, which JSON lacks: distinct from NULL in every response, and accepted in requests."""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, connect
from featurestore.values import json_encoding
from tests.server.conftest import Served, serve
from tests.worlds import STAMP, load_source

NAN, INF = math.nan, math.inf
VALUES = [NAN, INF, -INF, None, 1.5]
NAMES = ["NaN", "Infinity", "-Infinity", None, 1.5]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Keys 0 to 4 with one of VALUES each: as a double, as a float, in a list, and derived from a request field."""
    with FeatureStore(home=tmp_path_factory.mktemp("odd")) as store:
        columns = {
            "id": pa.array(range(5)),
            "at": pa.array([datetime(2026, 3, 1, tzinfo=UTC)] * 5, STAMP),
            "double": pa.array(VALUES, pa.float64()),
            "single": pa.array(VALUES, pa.float32()),
            "listed": pa.array([[value, 2.0] for value in VALUES], pa.list_(pa.float64())),
        }
        load_source(store, "odd.rows", pa.table(columns))
        view = FeatureView(
            "odd_rows",
            entity=Entity("thing", keys="id"),
            source=Source("rows", table="odd.rows", timestamp="at"),
            features=["double", "single", "listed"],
        )
        derived = {"twice": "double * 2", "asked": "x", "word": "CAST(x AS VARCHAR)"}
        services = [
            FeatureService("plain", features=[view]),
            FeatureService("odd", features=[view], request={"x": "DOUBLE"}, derived=derived),
        ]
        store.apply(services)
        store.materialize(end="2026-03-02")
        with serve(store) as served:
            yield served


def test_lookups_return_their_names(odd: Served) -> None:
    body = {"entities": [{"id": id} for id in range(5)]}
    answer = odd.http.post("/v1/services/plain/online", json=body).json()
    assert answer["rows"] == [[name, name, [name, 2.0]] for name in NAMES]


def test_request_fields_accept_their_names_and_the_literals(odd: Served) -> None:
    for spelled in ('"NaN"', "NaN", '"Infinity"', "Infinity", '"-Infinity"', "-Infinity"):
        content = f'{{"entities": [{{"id": 4}}], "request": [{{"x": {spelled}}}]}}'
        body = odd.http.post("/v1/services/odd/online", content=content, headers={"Content-Type": "application/json"}).json()
        assert body["rows"][0][3:5] == [3.0, spelled.strip('"')]
        assert body["derived_types"] == ["DOUBLE", "DOUBLE", "VARCHAR"]


def test_the_client_has_what_the_store_has(odd: Served) -> None:
    entities = [{"id": id} for id in range(5)]
    request = [{"x": value} for value in VALUES]
    with connect(odd.url) as remote:
        told = remote.online_features("odd", entities, request)
    features = odd.store.online_features("odd", entities, request)
    assert repr(told.rows) == repr(features.rows)
    assert told.rows[1][:5] == (INF, INF, [INF, 2.0], INF, INF)
    assert told.derived_types == features.derived_types == ("DOUBLE", "DOUBLE", "VARCHAR")


def test_a_nan_in_a_frame_is_not_an_integer(odd: Served) -> None:
    with connect(odd.url) as remote:
        told = remote.online_features("plain", [{"id": NAN}])
    assert told.status == {"odd_rows": ("NOT_FOUND",)}


def test_spines_in_json_accept_their_names(odd: Served) -> None:
    rows = [{"id": 4, "at": "2026-03-02", "x": name} for name in NAMES]
    body = {"service": "odd", "timestamp": "at", "spine": {"rows": rows}}
    answer = odd.http.post("/v1/point-in-time", json=body)
    assert answer.is_success, answer.text
    joined = pa.ipc.open_stream(answer.content).read_all()
    assert repr(joined.column("asked").to_pylist()) == repr(VALUES)


def test_keys_of_other_types_refuse_them(odd: Served) -> None:
    answer = odd.http.post("/v1/services/plain/online", json={"entities": [{"id": "NaN"}]})
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (422, "entities[0].id")


def test_predictions_return_their_names() -> None:
    # As a model gives them: what the server's route encodes.
    said = {"predictions": [NAN, {"a": (INF, None)}, [-INF, 1]], "version": None}
    assert json.loads(json_encoding.dumps(said))["predictions"] == ["NaN", {"a": ["Infinity", None]}, ["-Infinity", 1]]


@pytest.mark.parametrize("value", [None, [None, 1.0], {"null": "null"}, {"a": (None, [1.5])}, np.array([1.0, 2.0])])
def test_nothing_else_changes(value: Any) -> None:
    assert json.loads(json_encoding.dumps(value)) == json.loads(json_encoding.dumps(value, suspected=lambda: False))


def test_arrays_return_their_names() -> None:
    assert json_encoding.dumps([np.array([NAN, 1.0]), np.float32(INF)]) == b'[["NaN",1.0],"Infinity"]'
