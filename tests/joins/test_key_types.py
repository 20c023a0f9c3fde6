"""Keys of every type lead to the same rows as integer keys: in a run, in chunks, with late rows, in a join, online."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from tests.worlds import STAMP, load_source

COUNTER = itertools.count()
START = datetime(2024, 3, 1, tzinfo=UTC)
ArrowKey = tuple[pa.DataType, Callable[[int], Any]]
DATE: ArrowKey = (pa.date32(), lambda i: date(1969, 12, 30) + timedelta(days=i))
INT64: ArrowKey = (pa.int64(), lambda i: -(2**63) + i)
UUID: ArrowKey = (pa.uuid(), lambda i: uuid.UUID(int=2**127 + i))
KEY_COLUMNS: dict[str, dict[str, ArrowKey]] = {
    "string": {"k": (pa.string(), lambda i: f"käufer {i}/'\"%")},
    "int32": {"k": (pa.int32(), lambda i: (-(2**31), -300, 0, 250, 2**31 - 1)[i])},
    "int64": {"k": INT64},
    "date": {"k": DATE},
    "uuid": {"k": UUID},
    "decimal": {"k": (pa.decimal128(12, 2), lambda i: Decimal(i * 37 - 50) / 100)},
    "boolean": {"k": (pa.bool_(), lambda i: i == 1)},
    "timestamp": {"k": (STAMP, lambda i: datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) + timedelta(microseconds=i))},
    "integer, date and uuid": {"part": (pa.int64(), lambda i: i % 2), "k": DATE, "other": UUID},
}
"""The columns of the key, each with its type and its value in row i."""
UNCHUNKED = ("decimal", "timestamp", "uuid", "integer, date and uuid")
"""Types that are stored in as many ways; with integers and texts, most tests run in one query."""
CASES = [*((3, name) for name in KEY_COLUMNS), *((None, name) for name in UNCHUNKED)]
NARROW_INTEGERS: dict[str, ArrowKey] = {
    "int8": (pa.int8(), lambda i: i - 2),
    "int16": (pa.int16(), lambda i: i * -300),
    "uint8": (pa.uint8(), lambda i: 250 + i),
    "uint16": (pa.uint16(), lambda i: 65_000 + i),
    "uint32": (pa.uint32(), lambda i: 2**31 - 1 - i),
}
"""Iceberg stores each as a signed integer of 32 bits."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
def chunked(store: FeatureStore) -> Iterator[FeatureStore]:
    """The same store, which reads three rows at once."""
    with FeatureStore(settings=Settings(home=store.settings.home, chunk_rows=3)) as chunked:
        yield chunked


def rows(columns: dict[str, ArrowKey], numbers: list[int], day: int) -> pa.Table:
    return pa.table(
        {
            **{name: key_array(arrow_type, [key(number) for number in numbers]) for name, (arrow_type, key) in columns.items()},
            "at": pa.array([START + timedelta(days=day, hours=place) for place in range(len(numbers))], STAMP),
            "x": pa.array([float(number + place) for place, number in enumerate(numbers)]),
        }
    )


def key_array(arrow_type: pa.DataType, keys: list[Any]) -> pa.Array:
    """Arrow makes no uuid of a Python one."""
    if arrow_type == pa.uuid():
        return pa.array([key.bytes for key in keys], pa.binary(16)).cast(arrow_type)
    return pa.array(keys, arrow_type)


def apply_views(store: FeatureStore, columns: dict[str, ArrowKey], numbers: list[int]) -> tuple[Table, FeatureService]:
    """A source table with these keys, and a service of an aggregate view and a plain view of it."""
    name = f"n{next(COUNTER)}"
    table = load_source(store, f"raw.{name}", rows(columns, [*numbers, *numbers[:2]], 0))
    source = Source(name, table=f"raw.{name}", timestamp="at")
    entity = Entity("thing", keys=list(columns))
    features = {"n": agg.count(over="7d"), "total": agg.sum("x", over="2d"), "kinds": agg.count_distinct("x", over="7d")}
    grid = FeatureView(f"grid_{name}", entity=entity, source=source, every="1d", features=features)
    plain = FeatureView(f"plain_{name}", entity=entity, source=source, features=["x"])
    service = FeatureService(name, features=[grid, plain])
    store.apply([service])
    return table, service


def materialize_and_read(store: FeatureStore, columns: dict[str, ArrowKey], numbers: list[int]) -> list[Any]:
    """What the runs, a join and a lookup return for a source with these keys, without the keys themselves."""
    table, service = apply_views(store, columns, numbers)
    views = [f"grid_{service.name}", f"plain_{service.name}"]
    counts = [(run.rows_appended, run.corrections) for run in store.materialize(views)]
    # Late rows of some keys, and a key that is new.
    table.append(rows(columns, numbers[1:], 1))
    counts += [(run.rows_appended, run.corrections) for run in store.materialize(views)]
    assert [run.rows_appended for run in store.materialize(views)] == [0, 0]
    spine = rows(columns, numbers, 5).drop_columns(["x"])
    joined = store.point_in_time(service.name, spine, "at").drop_columns(list(columns)).to_pylist()
    online = store.online_features(service.name, spine.drop_columns(["at"]).to_pylist())
    return [counts, joined, online.rows, [list(status) for status in online.status.values()]]


@pytest.fixture(scope="module")
def of_integers(store: FeatureStore) -> Callable[[int], list[Any]]:
    """What a source with so many integer keys leads to, materialized in one query."""
    return cache(lambda count: materialize_and_read(store, {"k": (pa.int64(), lambda number: number)}, list(range(count))))


@pytest.mark.slow
@pytest.mark.parametrize("chunk_rows, name", CASES)
def test_keys_of_any_type_lead_where_integers_do(
    store: FeatureStore, chunked: FeatureStore, of_integers: Callable[[int], list[Any]], chunk_rows: int | None, name: str
) -> None:
    count = 2 if name == "boolean" else 5
    read = materialize_and_read(chunked if chunk_rows else store, KEY_COLUMNS[name], list(range(count)))
    assert read == of_integers(count)
    counts, _, _, statuses = read
    assert all(appended for appended, _ in counts)
    assert any(corrections for _, corrections in counts[2:])
    assert all(status == ["PRESENT"] * count for status in statuses)


@pytest.mark.slow
def test_narrow_integers_of_a_source_and_a_spine_are_the_integers_that_they_are_stored_as(chunked: FeatureStore) -> None:
    numbers = [0, 1, 2, 3, 4]
    load_source(chunked, "raw.narrow", rows(NARROW_INTEGERS, [*numbers, *numbers[:2]], 0))
    source = Source("narrow", table="raw.narrow", timestamp="at")
    grids, plain = [], []
    for name in NARROW_INTEGERS:
        entity = Entity(f"of_{name}", keys=name)
        grids.append(FeatureView(f"by_{name}", entity=entity, source=source, every="1d", features={f"n_{name}": agg.count(over="7d")}))
        plain.append(FeatureView(f"last_{name}", entity=entity, source=source, features={f"x_{name}": "x"}))
    chunked.apply([FeatureService("narrow", features=[*grids, *plain])])
    chunked.materialize([view.name for view in (*grids, *plain)])
    spine = rows(NARROW_INTEGERS, numbers, 5).drop_columns(["x"])
    joined = chunked.point_in_time("narrow", spine, "at")
    online = chunked.online_features("narrow", spine.drop_columns(["at"]).to_pylist())
    looked_up = [dict(zip(online.features, row, strict=True)) for row in online.rows]
    assert online.status == dict.fromkeys([view.name for view in (*grids, *plain)], ("PRESENT",) * len(numbers))
    for name in NARROW_INTEGERS:
        assert joined[f"n_{name}_7d"].to_pylist() == [2, 2, 1, 1, 1]
        assert joined[f"x_{name}"].to_pylist() == [row[f"x_{name}"] for row in looked_up] == [5.0, 7.0, 4.0, 6.0, 8.0]
