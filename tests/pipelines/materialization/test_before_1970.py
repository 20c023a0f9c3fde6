"""Times before 1970 are negative: divisions must round down, or rows at the edge of a day, month or grid step are lost."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from tests import oracle
from tests.worlds import STAMP, load_source

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.int64())])


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def moments(dice: random.Random, count: int) -> list[int]:
    """Times of 1900 to 1970, many of them on the edges of days, months and the epoch."""
    points: list[int] = []
    for _ in range(count):
        month = datetime(dice.randrange(1900, 1970), dice.randrange(1, 13), 1, tzinfo=UTC)
        points.append(micros(month) + dice.choice([0, -1, 1, -HOUR, dice.randrange(28 * DAY)]))
    return [*points, -1, 0, -DAY, -DAY - 1, -HOUR // 2]


def rows(events: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{"k": event["k"], "at": event["t"], "x": event["x"]} for event in events], SCHEMA)


@pytest.mark.parametrize("when", [datetime(1969, 12, 31, 23, tzinfo=UTC), datetime(1968, 2, 29, 0, 0, 0, 1, UTC)])
def test_the_only_event_of_a_month_on_its_last_day(tmp_path: Path, when: datetime) -> None:
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        load_source(store, "raw.s", pa.table({"k": [1], "at": pa.array([when], STAMP), "x": [7]}, SCHEMA))
        source = Source("s", table="raw.s", timestamp="at")
        store.apply([FeatureService("old", features=[FeatureView("v", entity=Entity("e", keys="k"), source=source, features=["x"])])])
        (run,) = store.materialize()
        assert run.rows_appended == 1
        assert store.point_in_time("old", [{"k": 1, "now": "2026-01-01"}], timestamp="now").column("x").to_pylist() == [7]
        assert store.online_features("old", [{"k": 1}]).rows == ((7,),)


@pytest.mark.slow
@pytest.mark.parametrize("chunk_rows", [None, 3])
def test_every_moment_of_the_first_seventy_years_sees_what_an_oracle_sees(tmp_path: Path, chunk_rows: int | None) -> None:
    dice = random.Random(chunk_rows)
    unique = dict.fromkeys((dice.randrange(3), t) for t in moments(dice, 10 if chunk_rows else 20))
    events = [{"k": k, "t": t, "x": number} for number, (k, t) in enumerate(unique)]
    dice.shuffle(events)
    with FeatureStore(settings=Settings(home=tmp_path, chunk_rows=chunk_rows)) as store:
        table = load_source(store, "raw.s", rows(events[:9]))
        entity, source = Entity("e", keys="k"), Source("s", table="raw.s", timestamp="at")
        hours = {"n": agg.count(over=["1h", "30d"]), "last": agg.last("x", over="30d"), "all": agg.count_distinct("x", over="30d")}
        views = [
            FeatureView("last_x", entity=entity, source=source, features=["x"]),
            FeatureView("recent", entity=entity, source=source, ttl="30d", features={"y": "x"}),
            FeatureView("hourly", entity=entity, source=source, every="1h", features=hours),
            FeatureView("daily", entity=entity, source=source, every="1d", features={"d": agg.sum("x", over="7d")}),
        ]
        store.apply([FeatureService("old", features=views)])
        store.materialize(end=datetime(1950, 6, 30, 23, 59, tzinfo=UTC))
        store.materialize(end=datetime(1969, 12, 31, 23, 59, tzinfo=UTC))
        table.append(rows(events[9:]))
        store.materialize()
        asked = [t + delta for t in sorted({event["t"] for event in events}) for delta in (-1, 0, 1, HOUR, DAY + 7, 31 * DAY)]
        spine = pa.table({"k": pa.array([k for k in range(3) for _ in asked]), "t": pa.array(asked * 3, STAMP)})
        for row in store.point_in_time("old", spine, "t").to_pylist():
            t, own = micros(row["t"]), [event for event in events if event["k"] == row["k"]]
            before = [event for event in own if event["t"] <= t]
            newest = max(before, key=lambda event: event["t"], default=None)
            assert row["x"] == (newest and newest["x"]), row
            assert row["y"] == (newest["x"] if newest and t - newest["t"] <= 30 * DAY else None), row
            hour, day = t // HOUR * HOUR, t // DAY * DAY
            month = oracle.window(own, hour, 30 * DAY)
            known = any(event["t"] < hour for event in own)
            assert row["n_30d"] == (len(month) if known else None), row
            assert row["n_1h"] == (len(oracle.window(own, hour, HOUR)) if known else None), row
            assert row["all_30d"] == (len(month) if known else None), row
            assert row["last_30d"] == (month[-1]["x"] if month else None), row
            assert row["d_7d"] == oracle.aggregate("sum", oracle.window(own, day, 7 * DAY)), row
        last = {k: max((event for event in events if event["k"] == k), key=lambda event: event["t"]) for k in range(3)}
        features = store.online_features("old", [{"k": k} for k in range(3)])
        assert [row[0] for row in features.rows] == [last[k]["x"] for k in range(3)]
        assert features.timestamps["last_x"] == tuple(last[k]["t"] for k in range(3))


@pytest.mark.slow
def test_a_grid_and_a_split_before_1970(tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        load_source(store, "raw.s", rows([{"k": 1, "t": -3 * HOUR - 1, "x": 1}, {"k": 1, "t": -HOUR, "x": 2}]))
        view = FeatureView("v", entity=Entity("e", keys="k"), source=Source("s", table="raw.s", timestamp="at"), features=["x"])
        store.apply([FeatureService("old", features=[view])])
        store.materialize()
        made = store.training_set(
            "old",
            start="1969-12-31T20:00",
            end="1970-01-01T01:00",
            every="90m",
            split={"train": "1969-12-31T23:00", "test": None},
        )
        table = made.to_arrow()
        assert table.column("x").to_pylist() == [None, 1, 2, 2]
        assert [t.hour for t in table.column("timestamp").to_pylist()] == [20, 21, 23, 0]
        assert {part: made.split(part).to_arrow().num_rows for part in ("train", "test")} == {"train": 2, "test": 2}
