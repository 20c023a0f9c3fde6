"""An online answer at an instant equals the as-of join at that instant, bit for bit, on random services."""

import math
import random
import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.pipelines.online_lookup.lookup import lookup
from featurestore.values.epoch import EPOCH
from tests.worlds import STAMP, load_source

START = datetime(2026, 3, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
TTL = timedelta(hours=60)
"""Long enough that rows are this old when the last windows of the aggregate views have ended."""
ROWS = 60
KEYS: dict[str, tuple[pa.DataType, tuple[Any, ...]]] = {
    "number": (pa.int64(), (0, -1, 1 << 62)),
    "name": (pa.string(), ("", "ä\u0301", "\U0001f600:*", "a\x00b")),
    "day": (pa.date32(), (date(1, 1, 1), date(1969, 12, 31))),
    "price": (pa.decimal128(9, 2), (Decimal("0.00"), Decimal("-12.50"))),
}
VALUES: dict[str, tuple[pa.DataType, tuple[Any, ...]]] = {
    "double": (pa.float64(), (None, 0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 5e-324)),
    "single": (pa.float32(), (None, -0.0, math.inf, 0.1, math.nan)),
    "long": (pa.int64(), (None, 0, -(1 << 63), (1 << 53) + 1)),
    "text": (pa.string(), (None, "", "käufer", "\U0001f600", 'a"\\b', "NaN")),
    "flag": (pa.bool_(), (None, True, False)),
    "born": (pa.date32(), (None, date(1, 1, 1), date(9999, 12, 31))),
    "seen": (STAMP, (None, datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), datetime(2026, 1, 1, tzinfo=UTC))),
    "owed": (pa.decimal128(18, 4), (None, Decimal("-0.0001"), Decimal("12345678901234.5678"))),
    "numbers": (pa.list_(pa.float64()), (None, [], [None, -0.0, math.nan])),
}
DERIVED = {
    "scaled": "row_double * x",
    "known": "coalesce(row_double, x, 1)",
    "missing": "row_text IS NULL OR row_flag",
    "share": "x / nullif(grid_total, 0)",
    "words": "coalesce(row_text, '-') || CAST(row_long AS VARCHAR)",
    "age": "date_diff('day', row_born, CAST(row_seen AS DATE))",
}


def rows(chance: random.Random) -> pa.Table:
    """Rows of few keys, at few times, some of them alike, with values at the edges of each type."""
    columns = {name: pa.array([chance.choice(values) for _ in range(ROWS)], kind) for name, (kind, values) in {**KEYS, **VALUES}.items()}
    times = [START + chance.choice((0, 1, 5, 24, 36, 40)) * timedelta(hours=1) + chance.choice((0, 1)) * MICROSECOND for _ in range(ROWS)]
    return pa.table({**columns, "at": pa.array(times, STAMP)})


def service(chance: random.Random, number: int) -> FeatureService:
    """A row view, with a ttl or not, and an aggregate view over the same keys; derived features of both and of a request field."""
    keys = chance.sample([*KEYS], chance.randint(1, len(KEYS)))
    entity, source = Entity(f"e{number}", keys=keys), Source(f"s{number}", table=f"raw.s{number}", timestamp="at")
    features = {f"row_{name}": name for name in chance.sample([*VALUES], len(VALUES))}
    ttl = "60h" if chance.random() < 0.7 else None
    row_view = FeatureView(f"row{number}", entity=entity, source=source, features=features, ttl=ttl)
    aggregates = {"grid_total": agg.sum("long // 1000000007", over="1d"), "grid_rows": agg.count(over=["1d", "2d"])}
    grid_view = FeatureView(f"grid{number}", entity=entity, source=source, every="1h", features=aggregates)
    derived = {name: sql.replace("grid_total", "grid_total_1d") for name, sql in DERIVED.items()}
    return FeatureService(f"service{number}", features=[row_view, grid_view], request={"x": "double"}, derived=derived)


@pytest.fixture
def store(tmp_path: Path, url: str) -> Iterator[FeatureStore]:
    """Three random services, materialized beyond their last rows."""
    with FeatureStore(settings=Settings(home=tmp_path / "home", online=url)) as opened:
        services = []
        for number in range(3):
            chance = random.Random(number)
            load_source(opened, f"raw.s{number}", rows(chance))
            services.append(service(chance, number))
        opened.apply(services)
        opened.materialize(end=START + timedelta(days=10))
        yield opened


def bits(value: Any) -> Any:
    """A value that is equal only if its bits are; every NaN is the same."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else struct.pack(">d", value)
    return [bits(item) for item in value] if isinstance(value, list | tuple) else (type(value), value)


def instants(newest: datetime) -> list[datetime]:
    """No row is later, and rows are at the ttl, a microsecond before and after it."""
    ages = [timedelta(0), TTL - MICROSECOND, TTL, TTL + MICROSECOND, timedelta(days=8)]
    times = [newest, *(START + hours * timedelta(hours=1) + age for hours in (24, 36, 40) for age in ages)]
    return [time for time in times if time >= newest]


@pytest.mark.slow
def test_an_online_answer_is_the_as_of_join_at_its_instant(store: FeatureStore) -> None:
    # Aggregate views are complete up to the watermark: the newest grid point that any row leads to lies before all instants.
    seen: dict[str, set[str]] = {}
    for number in range(3):
        name, table = f"service{number}", store.catalog.load_table(f"raw.s{number}").scan().to_arrow()
        plan = store._services.current(name)
        keys = [column for column in KEYS if column in plan.entity_columns]
        entities = table.select(keys).group_by(keys).aggregate([]).to_pylist()
        entities += [{key: KEYS[key][1][-1] if key == keys[0] else None for key in keys}, dict.fromkeys(keys)]
        request = [{"x": (1.5, None, -0.0, math.inf)[index % 4]} for index in range(len(entities))]
        # The newest row of the aggregate view is where its last window ends, and online answers have it at any instant after.
        newest = max(table["at"].to_pylist()) + timedelta(days=2, hours=1)
        for at in instants(newest):
            online = lookup(store._runtime, plan, entities, request, store._online_tables, at=(at - EPOCH) // MICROSECOND)
            types = {key: KEYS[key][0] for key in keys}
            columns = {key: pa.array([entity[key] for entity in entities], types[key]) for key in keys}
            spine = pa.table(
                {**columns, "x": pa.array([fields["x"] for fields in request], pa.float64()), "t": pa.array([at] * len(entities), STAMP)}
            )
            joined = store.point_in_time(name, spine, "t").select(list(online.features))
            expected = [list(row) for row in zip(*(column.to_pylist() for column in joined.columns), strict=True)]
            assert [bits(row) for row in online.rows] == [bits(row) for row in expected], (name, at)
            for label, states in online.status.items():
                seen.setdefault(label, set()).update(states)
    assert {"PRESENT", "EXPIRED", "NOT_FOUND"} in seen.values(), "no service has rows on both sides of its ttl"
    assert seen["grid0"] == {"PRESENT", "NOT_FOUND"}
