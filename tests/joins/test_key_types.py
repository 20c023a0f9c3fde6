"""Keys of every type lead to the same rows as integer keys: in a run, in chunks, with late rows, in a join, online."""

import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from tests.worlds import STAMP, load_source

COUNTER = itertools.count()
START = datetime(2024, 3, 1, tzinfo=UTC)
KINDS: dict[str, tuple[pa.DataType, Callable[[int], Any]]] = {
    "string": (pa.string(), lambda i: f"käufer {i}/'\"%"),
    "int8": (pa.int8(), lambda i: i - 2),
    "int16": (pa.int16(), lambda i: i * -300),
    "int32": (pa.int32(), lambda i: 2**31 - 1 - i),
    "int64": (pa.int64(), lambda i: -(2**63) + i),
    "uint8": (pa.uint8(), lambda i: 250 + i),
    "uint16": (pa.uint16(), lambda i: 65_000 + i),
    # Iceberg keeps it in a signed integer of the same width.
    "uint32": (pa.uint32(), lambda i: 2**31 - 1 - i),
    "date": (pa.date32(), lambda i: date(1969, 12, 30) + timedelta(days=i)),
    "uuid": (pa.uuid(), lambda i: uuid.UUID(int=2**127 + i)),
    "decimal": (pa.decimal128(12, 2), lambda i: Decimal(i * 37 - 50) / 100),
    "boolean": (pa.bool_(), lambda i: i == 1),
    "timestamp": (STAMP, lambda i: datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) + timedelta(microseconds=i)),
}
CASES = [
    *((3, name, False) for name in sorted(KINDS)),
    *((3, name, True) for name in ("date", "uuid")),
    # In one query, for types that are stored in as many ways; with integers and texts, that is what most tests do.
    *((None, name, False) for name in ("decimal", "timestamp", "uuid")),
    (None, "uuid", True),
]
"""Chunk rows, the type of the key, and whether another column is part of it."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> FeatureStore:
    return FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("store"), chunk_rows=request.param))


def rows(numbers: list[int], kind: pa.DataType, key: Callable[[int], Any], day: int) -> pa.Table:
    keys = [key(number) for number in numbers]
    return pa.table(
        {
            "k": pa.array([item.bytes for item in keys] if kind == pa.uuid() else keys, pa.binary(16) if kind == pa.uuid() else kind).cast(
                kind
            ),
            "part": pa.array([number % 2 for number in numbers], pa.int64()),
            "at": pa.array([START + timedelta(days=day, hours=place) for place in range(len(numbers))], STAMP),
            "x": pa.array([float(number + place) for place, number in enumerate(numbers)]),
        }
    )


def life(store: FeatureStore, kind: pa.DataType, key: Callable[[int], Any], keys: list[str], numbers: list[int]) -> list[Any]:
    """What a store says of a source with these keys: its runs, a join and a lookup, without the keys themselves."""
    name = f"n{next(COUNTER)}"
    table = load_source(store, f"raw.{name}", rows([*numbers, *numbers[:2]], kind, key, 0))
    source = Source(name, table=f"raw.{name}", timestamp="at")
    entity = Entity("thing", keys=keys)
    features = {"n": agg.count(over="7d"), "total": agg.sum("x", over="2d"), "kinds": agg.count_distinct("x", over="7d")}
    grid = FeatureView(f"grid_{name}", entity=entity, source=source, every="1d", features=features)
    plain = FeatureView(f"plain_{name}", entity=entity, source=source, features=["x"])
    store.apply([FeatureService(name, features=[grid, plain])])
    counted = [(run.rows_appended, run.corrections) for run in store.materialize([grid.name, plain.name])]
    # Late rows of some keys, and a key that is new.
    table.append(rows(numbers[1:], kind, key, 1))
    counted += [(run.rows_appended, run.corrections) for run in store.materialize([grid.name, plain.name])]
    again = [run.rows_appended for run in store.materialize([grid.name, plain.name])]
    assert again == [0, 0]
    spine = rows(numbers, kind, key, 5).drop_columns(["x"])
    joined = [
        {field: value for field, value in row.items() if field not in ("k", "part")}
        for row in store.point_in_time(name, spine, "at").to_pylist()
    ]
    expected = [{field: value for field, value in row.items() if field in keys} for row in spine.to_pylist()]
    online = store.online_features(name, expected)
    return [counted, joined, online.rows, [list(found) for found in online.status.values()]]


@pytest.fixture(scope="module")
def of_integers(store: FeatureStore) -> Callable[[tuple[str, ...], tuple[int, ...]], list[Any]]:
    """What the store says of the same source with integer keys, found out once."""
    return cache(lambda keys, numbers: life(store, pa.int64(), lambda number: number, list(keys), list(numbers)))


@pytest.mark.slow
@pytest.mark.parametrize("store, name, composite", CASES, indirect=["store"])
def test_keys_of_any_type_lead_where_integers_do(
    store: FeatureStore, of_integers: Callable[[tuple[str, ...], tuple[int, ...]], list[Any]], name: str, composite: bool
) -> None:
    numbers = [0, 1] if name == "boolean" else [0, 1, 2, 3, 4]
    keys = ["part", "k"] if composite else ["k"]
    kind, key = KINDS[name]
    found = life(store, kind, key, keys, numbers)
    assert found == of_integers(tuple(keys), tuple(numbers))
    assert all(appended for appended, _ in found[0])
    assert any(corrections for _, corrections in found[0][2:])
    assert all(status == ["PRESENT"] * len(numbers) for status in found[3])
