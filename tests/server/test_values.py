"""Every type of key with edge values: the right row, or a 422 that names the field, never a 500."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of
from tests.worlds import STAMP, load_source

JSON = {"content-type": "application/json"}
AT = datetime(2026, 3, 1, tzinfo=UTC)
WIDE = Decimal("12345678901234567890123456789012345.678")
KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bigint": (pa.int64(), [0, 1, 2**63 - 1, -(2**63)]),
    "integer": (pa.int32(), [0, 1, 2**31 - 1]),
    "decimal": (pa.decimal128(38, 3), [Decimal("0.000"), WIDE, Decimal("0.100")]),
    "text": (pa.string(), ["", "a\0b", "é", "NaN", "x" * 600]),
    "flag": (pa.bool_(), [True]),
    "day": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "moment": (STAMP, [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]),
}
NASTY = [
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e-400", "1e999999999", "-0.0", "0", "1", "1.0", "0.1", "0.5", "true", "null"),
    *("9" * 400, "-" + "9" * 400, "9" * 5_000, str(2**63), str(2**63 - 1), str(-(2**63)), str(2**31), "9007199254740993", "1e18"),
    *("12345678901234567890123456789012345.678", "0.1000000000000000000000000001", "123456789012345678901234567.5"),
    *('"12345678901234567890123456789012345.678"', '"1e5000"', '"1_0"', '"0.10"', '"nan"', '"1e999999999999999999"', f'"{"9" * 400}"'),
    *('""', r'"a\u0000b"', '"é"', r'"\ud800"', r'"\udc00x"', '"NaN"', f'"{"x" * 600}"', f'"{"y" * 100_000}"'),
    *("[]", "{}", "[[[[1]]]]", '{"a": {"b": 1}}'),
    *('"0001-01-01"', '"9999-12-31"', '"10000-01-01"', '"0000-01-01"', '"-0001-01-01"', '"2026-02-30"', '"0001-01-01T00:00:00+14:00"'),
    *('"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', '"9999-12-31T23:59:59.999999-12:00"', '"9999-12-31T24:00:00Z"'),
]  # fmt: skip
PRESENT = {
    "bigint": {"-0.0", "0", "1", "1.0", str(2**63 - 1), str(-(2**63))},
    "integer": {"-0.0", "0", "1", "1.0"},
    "decimal": {"-0.0", "0", "0.1", '"0.10"', "12345678901234567890123456789012345.678", '"12345678901234567890123456789012345.678"'},
    "text": {'""', r'"a\u0000b"', '"é"', '"NaN"', '"nan"', f'"{"x" * 600}"'} - {'"nan"'},
    "flag": {"true"},
    "day": {'"0001-01-01"', '"9999-12-31"'},
    "moment": {'"0001-01-01"', '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"'},
}
"""The JSON forms of existing keys."""


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A view and a service for each key type, whose feature is the index of the key in its list."""
    with FeatureStore(home=tmp_path_factory.mktemp("keyed")) as store:
        services = []
        for name, (kind, keys) in KEYS.items():
            columns = {"id": pa.array(keys, kind), "at": pa.array([AT] * len(keys), STAMP), "place": pa.array(range(len(keys)))}
            load_source(store, f"keyed.{name}", pa.table(columns))
            entity = Entity(f"{name}_owner", keys="id")
            view = FeatureView(
                f"{name}_view", entity=entity, source=Source(name, table=f"keyed.{name}", timestamp="at"), features=["place"]
            )
            services.append(FeatureService(f"{name}_service", features=[view]))
        fields = {
            "double": "DOUBLE",
            "float": "FLOAT",
            "number": "DECIMAL(10, 2)",
            "whole": "BIGINT",
            "word": "VARCHAR",
            "moment": "TIMESTAMPTZ",
        }
        derived = {f"{field}_again": field for field in fields}
        services.append(FeatureService("fields", features=[services[0].features[0]], request=fields, derived=derived))
        store.apply(services)
        store.materialize(end="2026-03-02")
        with serve(store) as served:
            yield served


@pytest.mark.slow
@pytest.mark.parametrize("name", KEYS)
def test_every_key_finds_its_row_or_is_refused(keyed: Served, name: str) -> None:
    for spelled in NASTY:
        body = f'{{"entities": [{{"id": {spelled}}}]}}'.encode()
        answer = keyed.http.post(f"/v1/services/{name}_service/online", content=body, headers=JSON)
        told = f"{name} {spelled[:60]} {answer.text[:300]}"
        assert answer.status_code in (200, 422), told
        assert len(answer.content) < 3_000, told
        if answer.status_code == 422:
            assert spelled not in PRESENT[name], told
            assert "entities[0].id" in answer.text or "JSON" in answer.text, told
            continue
        states = answer.json()["status"][f"{name}_view"]
        assert states == ["PRESENT" if spelled in PRESENT[name] else "NOT_FOUND"], told


@pytest.mark.slow
@pytest.mark.parametrize("field", ["double", "float", "number", "whole", "word", "moment"])
def test_every_request_field_is_taken_or_refused(keyed: Served, field: str) -> None:
    usual = {"double": "1.5", "float": "1.5", "number": "1.5", "whole": "1", "word": '"w"', "moment": '"2026-01-01"'}
    for spelled in NASTY:
        fields = ", ".join(f'"{name}": {value}' for name, value in {**usual, field: spelled}.items())
        body = f'{{"entities": [{{"id": 1}}], "request": [{{{fields}}}]}}'.encode()
        answer = keyed.http.post("/v1/services/fields/online", content=body, headers=JSON)
        told = f"{field} {spelled[:60]} {answer.text[:300]}"
        assert answer.status_code in (200, 422), told
        if answer.status_code == 422:
            assert f"request[0].{field}" in answer.text or "JSON" in answer.text, told
        elif field in ("double", "float") and spelled not in ("NaN", '"NaN"', "Infinity", "-Infinity", "null"):
            found = answer.json()["rows"][0][list(usual).index(field) + 1]
            assert found == pytest.approx(float(spelled), rel=1e-6), told


@pytest.mark.slow
@pytest.mark.parametrize("name", KEYS)
def test_every_key_of_a_spine_finds_its_row_or_is_refused(keyed: Served, name: str) -> None:
    for spelled in NASTY:
        body = (
            f'{{"service": "{name}_service", "timestamp": "at", "spine": {{"rows": [{{"id": {spelled}, "at": "2026-03-02"}}]}}}}'.encode()
        )
        answer = keyed.http.post("/v1/point-in-time", content=body, headers=JSON)
        told = f"{name} {spelled[:60]} {answer.content[:300]!r}"
        assert answer.status_code in (200, 400, 422), told
        if answer.status_code == 200:
            place = pa.ipc.open_stream(answer.content).read_all().column("place").to_pylist()
            assert (place[0] is not None) == (spelled in PRESENT[name]), told
        else:
            assert spelled not in PRESENT[name], told


@pytest.mark.slow
def test_other_columns_and_times_of_a_spine(keyed: Served) -> None:
    for spelled in NASTY[::2]:
        for row in (
            f'{{"id": 1, "at": {spelled}}}',
            f'{{"id": 1, "at": "2026-03-02", "label": {spelled}}}',
            f'{{"id": 1, "at": "2026-03-02", {json.dumps(spelled)}: 1}}',
        ):
            body = f'{{"service": "bigint_service", "timestamp": "at", "spine": {{"rows": [{row}]}}}}'.encode()
            answer = keyed.http.post("/v1/point-in-time", content=body, headers=JSON)
            assert answer.status_code in (200, 400, 422), f"{row[:100]} {answer.content[:300]!r}"


@pytest.mark.slow
def test_numbers_are_as_exact_as_written(keyed: Served) -> None:
    for spelled, status in (("0.1", "PRESENT"), ("0.1000000000000000000000000001", None), ("0.10000000000000000", "PRESENT")):
        body = f'{{"entities": [{{"id": {spelled}}}]}}'.encode()
        answer = keyed.http.post("/v1/services/decimal_service/online", content=body, headers=JSON)
        if status is None:
            error = error_of(answer, 422, "TypeMismatch")
            assert error["details"]["field"] == "entities[0].id"
        else:
            assert answer.json()["status"] == {"decimal_view": [status]}


def test_nan_is_a_value_of_doubles_only(keyed: Served) -> None:
    usual = '"float": 1, "number": 1, "whole": 1, "word": "w", "moment": "2026-01-01"'
    for spelled in ("NaN", "Infinity", "-Infinity"):
        body = f'{{"entities": [{{"id": 1}}], "request": [{{"double": {spelled}, {usual}}}]}}'.encode()
        answer = keyed.http.post("/v1/services/fields/online", content=body, headers=JSON)
        assert answer.status_code == 200
        body = f'{{"entities": [{{"id": {spelled}}}]}}'.encode()
        answer = keyed.http.post("/v1/services/bigint_service/online", content=body, headers=JSON)
        assert error_of(answer, 422, "TypeMismatch")["details"]["field"] == "entities[0].id"
