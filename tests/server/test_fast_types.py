"""Keys, request fields and inputs of derived features of every type: the fast path returns the same bytes as the regular route."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from tests import shop
from tests.server.conftest import Served, serve
from tests.server.test_fast_lookups import answered, both  # noqa: F401 - answered is a fixture

COUNT = 12
TIME = pa.timestamp("us", "UTC")
FIRST = datetime(1969, 12, 30, 22, 0, 0, 1, UTC)


FIRST_ID = 0xA1B2C3D4E5F647A8B9CAD1E2F3A4B5C6


def row(index: int) -> dict[str, Any]:
    """Keys that differ in every type, and a feature of every type that is NULL in every fifth row."""
    there = index % 5 != 4
    return {
        "day": date(1969, 12, 28) + timedelta(days=index),
        "moment": FIRST + timedelta(hours=index),
        "price": Decimal(index * 25).scaleb(-2),
        "born": date(1, 1, 1) + timedelta(days=250_000 * index) if there else None,
        "seen": FIRST + timedelta(days=index, microseconds=index) if there else None,
        "owed": Decimal(index * 12345).scaleb(-4) - 3 if there else None,
        "id": str(UUID(int=FIRST_ID + index)) if there else None,
        "rate": index / 3,
    }


KINDS: dict[str, pa.DataType] = {
    "day": pa.date32(),
    "moment": TIME,
    "price": pa.decimal128(12, 3),
    "born": pa.date32(),
    "seen": TIME,
    "owed": pa.decimal128(18, 4),
    "id": pa.string(),
    "rate": pa.float32(),
}
REQUEST = {"asked": "date", "at": "timestamp", "cost": "decimal(10,2)", "share": "float", "ref": "uuid"}
DERIVED = {
    "age": "date_diff('day', born, asked)",
    "waited": "date_diff('second', seen, at)",
    "later": "seen + INTERVAL 90 MINUTE",
    "debt": "owed + cost",
    "least_cost": "least(owed, cost * 2)",
    "scaled": "rate * share",
    "year": "year(at) + year(born)",
    "same": "ref = CAST(id AS UUID)",
    "text": "CAST(cost AS VARCHAR) || ' on ' || CAST(asked AS VARCHAR)",
}
DATES = ("2026-02-28", "20240229", "0001-01-01", "9999-12-31", "2026-W01-1", "2026-1-1", "2026-02-30", "", "1969-12-31", None)
TIMES = (
    "2026-01-02T03:04:05.000006Z",
    "2026-01-02T03:04:05+05:30",
    "2026-01-02 03:04",
    "2026-01-02",
    "20260102T030405,5Z",
    "1969-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+01:00",
    "2026-01-02T25:00:00Z",
    "2026-01-02T03:04:05.1234567Z",
    None,
)
COSTS = (
    0,
    -0,
    1,
    -17,
    "0",
    "-0",
    "12.50",
    "12.505",
    "1e3",
    "1E-2",
    " 1",
    "+.5",
    "99999999.99",
    "100000000",
    12.5,
    1e2,
    -0.0,
    0.1,
    True,
    "NaN",
    None,
)
SHARES = (0, -0.0, 1, 0.1, -2.5, 3.4e38, 1e39, "NaN", "Infinity", "1", 1e-46, None)
REFS = (
    str(UUID(int=FIRST_ID + 1)),
    UUID(int=FIRST_ID + 1).hex,
    str(UUID(int=FIRST_ID + 1)).upper(),
    f"{{{UUID(int=FIRST_ID + 1)}}}",
    "x",
    None,
)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Services with keys of each type, `by_day`, `by_moment`, `by_price` and `by_all`, and `derived`, with request fields of each type."""
    with FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("typed"))) as store:
        rows = [row(index) for index in range(COUNT)]
        columns = {name: pa.array([entry[name] for entry in rows], kind) for name, kind in KINDS.items()}
        shop.add(store, "t.typed", pa.table({**columns, "stored_at": pa.array([shop.days(1)] * COUNT, TIME)}))
        source = Source("typed", table="t.typed", timestamp="stored_at")
        views = {
            name: FeatureView(
                f"of_{name}", entity=Entity(name, keys=list(keys)), source=source, features=["born", "seen", "owed", "id", "rate"]
            )
            for name, keys in {"day": ("day",), "moment": ("moment",), "price": ("price",), "all": ("price", "moment", "day")}.items()
        }
        services = [FeatureService(f"by_{name}", features=[view]) for name, view in views.items()]
        store.apply([*services, FeatureService("derived", features=[views["day"]], request=REQUEST, derived=DERIVED)])
        store.materialize()
        with serve(store) as served:
            for name in ("by_day", "by_moment", "by_price", "by_all", "derived"):
                # Plans are compiled when they are first needed.
                served.http.post(f"/v1/services/{name}/online", json=body_of(name, random.Random(1), 1, wrong=False))
            yield served


def json_form(value: Any, chance: random.Random) -> Any:
    """One of the JSON forms of a key."""
    if isinstance(value, datetime):
        return chance.choice([value.isoformat(), value.replace(tzinfo=None).isoformat(" "), f"{value.replace(tzinfo=None).isoformat()}Z"])
    if isinstance(value, date):
        return chance.choice([value.isoformat(), value.strftime("%Y%m%d")])
    whole = [int(value)] if value == int(value) else []
    return chance.choice([str(value), f"{value:.1f}" if value * 10 == int(value * 10) else f"{value}0", f"{value:e}", *whole])


def body_of(service: str, chance: random.Random, count: int, wrong: bool = True) -> dict[str, Any]:
    """A request with existing keys, unknown ones, NULLs and, with `wrong`, values that do not have the type."""
    keys = {"by_all": ("price", "moment", "day"), "by_moment": ("moment",), "by_price": ("price",)}.get(service, ("day",))
    odd: dict[str, tuple[Any, ...]] = {"day": DATES, "moment": TIMES, "price": COSTS}
    entities, request = [], []
    for _ in range(count):
        stored = row(chance.randrange(COUNT + 2))
        entity = {name: json_form(stored[name], chance) for name in keys}
        if wrong and chance.random() < 0.3:
            name = chance.choice(keys)
            entity[name] = chance.choice(odd[name])
        entities.append(entity)
        values = {"asked": DATES, "at": TIMES, "cost": COSTS, "share": SHARES, "ref": REFS}
        few = {"asked": 1, "at": 4, "cost": 7, "share": 5, "ref": 2}
        request.append(
            {name: chance.choice(choices if wrong and chance.random() < 0.1 else choices[: few[name]]) for name, choices in values.items()}
        )
    return {"entities": entities, **({"request": request} if service == "derived" else {})}


@pytest.mark.parametrize("service", ["by_day", "by_moment", "by_price", "by_all", "derived"])
def test_the_bytes_are_those_of_the_ordinary_route(typed: Served, answered: list[bool], service: str) -> None:  # noqa: F811
    chance, statuses = random.Random(service), []
    fast_ones = 0
    for number in range(120):
        answered.clear()
        fast, ordinary = both(typed, service, body_of(service, chance, chance.choice((1, 1, 2, 5)), wrong=number % 3 != 0))
        assert fast.status_code == ordinary.status_code, (fast.text, ordinary.text)
        assert fast.content == ordinary.content
        fast_ones += answered == [True]
        statuses.append(fast.status_code)
    assert fast_ones >= 40
    assert statuses.count(200) >= fast_ones
    assert len(set(statuses)) > 1


def test_keys_of_each_type_find_their_rows(typed: Served, answered: list[bool]) -> None:  # noqa: F811
    for name in ("day", "moment", "price", "all"):
        stored = row(3)
        keys = ("price", "moment", "day") if name == "all" else (name,)
        body = {"entities": [{key: str(stored[key]) for key in keys}]}
        fast, ordinary = both(typed, f"by_{name}", body)
        assert answered[-1]
        assert fast.content == ordinary.content
        assert fast.json()["status"] == {f"of_{name}": ["PRESENT"]}
        assert fast.json()["rows"][0][2] == str(stored["owed"])


def test_derived_features_of_dates_times_and_decimals_are_computed_without_the_engine(typed: Served, answered: list[bool]) -> None:  # noqa: F811
    request = {"asked": "2026-02-28", "at": "2026-01-02T03:04:05Z", "cost": "12.50", "share": 0.5, "ref": str(UUID(int=FIRST_ID + 3))}
    fast, ordinary = both(typed, "derived", {"entities": [{"day": str(row(3)["day"])}], "request": [request]})
    assert answered == [True]
    assert fast.content == ordinary.content
    answer = dict(zip(fast.json()["features"], fast.json()["rows"][0], strict=True))
    assert answer["same"] is True
    assert answer["debt"] == "13.2035"
    assert answer["text"] == "12.50 on 2026-02-28"
