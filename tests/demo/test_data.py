"""Local clock times without a date are converted to the right time in UTC."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from featurestore.demo import data


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "departed, clock, zone, landed",
    [
        ("2013-01-01 10:17", 830, "America/Chicago", "2013-01-01 14:30"),
        ("2013-07-01 10:17", 830, "America/Chicago", "2013-07-01 13:30"),
        ("2013-07-01 10:17", 830, "America/Phoenix", "2013-07-01 15:30"),
        ("2013-01-02 03:00", 15, "America/New_York", "2013-01-02 05:15"),
        ("2013-01-02 04:30", 2400, "America/New_York", "2013-01-02 05:00"),
        ("2013-01-01 13:57", 1445, "Pacific/Honolulu", "2013-01-02 00:45"),
        ("2013-03-10 06:30", 405, "America/New_York", "2013-03-10 08:05"),
    ],
    ids=["winter", "summer", "no summer time", "past midnight", "24:00 is midnight", "over five zones", "clocks change on the way"],
)
def test_landing_is_the_next_time_the_clocks_there_show_it(departed: str, clock: int, zone: str, landed: str) -> None:
    after = pa.chunked_array([pa.array([at(departed)], data.UTC)])
    next_time = data.next_clock_time(after, pa.chunked_array([[clock]]), pa.chunked_array([[zone]]))
    assert next_time.to_pylist() == [at(landed)]


def test_a_flight_that_never_left_has_no_landing() -> None:
    nothing = pa.chunked_array([pa.nulls(1, data.UTC)])
    next_time = data.next_clock_time(nothing, pa.chunked_array([pa.array([None], pa.int64())]), pa.chunked_array([["America/Chicago"]]))
    assert next_time.to_pylist() == [None]


@pytest.mark.slow
def test_flights_leave_and_land_in_order() -> None:
    rows = data.flights()
    assert rows.num_rows == 336_776
    assert rows["departed_at"].null_count == rows["dep_time"].null_count
    assert rows["landed_at"].null_count == rows["arr_time"].null_count
    ground = pc.subtract(pc.divide(pc.cast(pc.subtract(rows["landed_at"], rows["departed_at"]), pa.int64()), 60_000_000), rows["air_time"])
    assert pc.min(ground).as_py() >= 0
    usual = pc.and_(pc.greater_equal(ground, 11), pc.less_equal(ground, 136))
    assert pc.mean(usual).as_py() > 0.998


@pytest.mark.slow
def test_the_other_tables_are_whole() -> None:
    assert data.weather().num_rows == 26_115
    assert data.planes().num_rows == 3_322
    assert data.weather().schema.field("time_hour").type == data.UTC
