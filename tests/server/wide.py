"""A store with views of every type, and services over them: `all`, `few` of them in another order,
`single`, `derived`, `sums`, which are derived without request fields, and `made`."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from tests import shop

COUNT = 40
TEXTS = ("", "a", 'quoted "x"', "comma],[", "null", '"NaN"', "\u00e4\u4e2d\U0001f600", "line\n\t\x7f", "100 %", "back\\slash")
NUMBERS = (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1, -1e22)
TIME = pa.timestamp("us", "UTC")


def moments(index: int) -> datetime:
    """Times before and after the epoch, with and without microseconds."""
    return (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 6, UTC), shop.days(index))[index % 3]


COLUMNS: dict[str, tuple[pa.DataType, Any]] = {
    "flag": (pa.bool_(), lambda index: index % 2 == 0),
    "small": (pa.int32(), lambda index: -index),
    "large": (pa.int64(), lambda index: (1 << 62) + index),
    "single": (pa.float32(), lambda index: NUMBERS[index % 3] if index % 2 else 0.1),
    "number": (pa.float64(), lambda index: NUMBERS[index % len(NUMBERS)]),
    "text": (pa.string(), lambda index: TEXTS[index % len(TEXTS)]),
    "data": (pa.binary(), lambda index: bytes([index, 0, 255])),
    "day": (pa.date32(), lambda index: date(1, 1, 1) + timedelta(days=index * 9000)),
    "moment": (TIME, moments),
    "price": (pa.decimal128(20, 8), lambda index: Decimal(index).scaleb(-8)),
    "code": (pa.uuid(), lambda index: UUID(int=index).bytes),
    "numbers": (pa.list_(pa.float64()), lambda index: [*NUMBERS[: index % len(NUMBERS)], None]),
    "times": (pa.list_(TIME), lambda index: [moments(index), None]),
}


def table(keys: dict[str, pa.Array], names: list[str], at: Any) -> pa.Table:
    """Rows with a value of each column, every fifth of them NULL."""
    columns = {
        name: pa.array([None if (index + place) % 5 == 0 else COLUMNS[name][1](index) for index in range(COUNT)], COLUMNS[name][0])
        for place, name in enumerate(names)
    }
    return pa.table({**keys, **columns, "at": pa.array([at(index) for index in range(COUNT)], TIME)})


MADE = {
    "tiny": "CAST(amount AS TINYINT)",
    "huge": "CAST(amount AS HUGEINT)",
    "unsigned": "CAST(amount AS UBIGINT)",
    "float": "CAST(amount AS FLOAT)",
    "double": "number * 2",
    "decimal": "CAST(amount AS DECIMAL(10,3))",
    "upper": "upper(text)",
    "bytes": "data",
    "next_day": "CAST(day + INTERVAL 1 DAY AS DATE)",
    "local": "CAST(day AS TIMESTAMP)",
    "seconds": "CAST(day AS TIMESTAMP_S)",
    "later": "moment + INTERVAL 1 HOUR",
    "listed": "numbers",
    "codes": "[code]",
    "coded": "code",
    "sure": "amount > 1",
    "nothing": "NULL",
}
"""Derived features of every type that a service can have."""


def key_of(index: int) -> UUID:
    return UUID(int=index * 7919)


@contextmanager
def open_wide(home: Path, online: str | None = None) -> Iterator[FeatureStore]:
    """The store, applied and materialized, with this online store. Views have keys of several types and features of every type."""
    ids = pa.array(range(COUNT), pa.int64())
    names = pa.array([f"{TEXTS[index % len(TEXTS)]}{index}" for index in range(COUNT)])
    with FeatureStore(settings=Settings(home=home, online=online)) as store:
        uuids = pa.array([str(key_of(index)) for index in range(COUNT)])
        shop.add(store, "t.pairs", table({"id": ids, "name": names}, list(COLUMNS), lambda index: shop.days(index / 7)))
        shop.add(store, "t.ids", table({"id": ids}, ["number", "text"], shop.days))
        shop.add(store, "t.others", table({"other": uuids}, ["flag", "moment"], moments))
        sources = {name: Source(name, table=f"t.{name}", timestamp="at") for name in ("pairs", "ids", "others")}
        pair, single, other = Entity("pair", keys=["id", "name"]), Entity("id", keys="id"), Entity("other", keys="other")
        pairs = FeatureView("pairs", entity=pair, source=sources["pairs"], features=list(COLUMNS))
        ids = FeatureView("ids", entity=single, source=sources["ids"], features=["number", "text"], ttl="20d")
        others = FeatureView("others", entity=other, source=sources["others"], features=["flag", "moment"])
        prefixed = ids.aliased("again", keys={"id": "id"})
        store.apply(
            [
                FeatureService("all", features=[pairs, prefixed, others.aliased("third", keys={"other": "other"})]),
                FeatureService("few", features=[pairs["text", "flag", "numbers"], prefixed["number"]]),
                FeatureService("single", features=[ids["number"]]),
                FeatureService(
                    "derived",
                    features=[pairs["text", "number", "large", "flag"], prefixed["number"]],
                    request={"amount": "double", "count": "bigint", "word": "varchar", "sure": "boolean"},
                    derived={
                        "total": "amount * count + number",
                        "same": "CASE WHEN flag THEN word || text ELSE coalesce(text, word) END",
                        "larger": "large + count",
                        "known": "number IS NOT NULL AND sure",
                        "year": "CAST(amount AS INTEGER) + 1",
                    },
                ),
                FeatureService(
                    "sums",
                    features=[pairs["text", "number", "large"], prefixed["number"]],
                    derived={"sum": "large - 1", "both": "coalesce(again_number, number)", "long": "coalesce(length(text), 0) > 4"},
                ),
                FeatureService("made", features=[pairs], request={"amount": "double"}, derived=MADE),
            ]
        )
        store.materialize()
        yield store


def entities(chance: random.Random, count: int, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Some that are there, some that are not, some with a key that is NULL."""
    rows = []
    for _ in range(count):
        index = chance.randrange(COUNT + 5)
        values = {"id": index, "name": f"{TEXTS[index % len(TEXTS)]}{index}", "other": str(key_of(index))}
        rows.append({column: None if chance.random() < 0.02 else values[column] for column in columns})
    return rows
