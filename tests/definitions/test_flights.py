"""The demo's features, computed by hand for a few flights."""

from typing import Any

import pytest

from definitions.flights import (
    aircraft_delays,
    aircraft_profile,
    airport_delays,
    carrier_delays,
    departure_delay,
    route_delays,
    weather,
)
from featurestore.testing import feature_rows, training_rows, utc

NOON = "2013-03-01T12:00"


def flight(landed: str | None, late: float | None, **other: Any) -> dict[str, Any]:
    """A flight of United's N1 from Newark to Miami that left three hours before noon of March 1st, on time."""
    usual = {"carrier": "UA", "tailnum": "N1", "origin": "EWR", "dest": "MIA", "departed_at": "2013-03-01T09:00", "dep_delay": 0.0}
    return {**usual, "landed_at": landed, "arr_delay": late, **other}


def test_a_landing_counts_from_the_hour_after_it() -> None:
    flights = [flight("2013-03-01T10:30", 30.0), flight(NOON, 90.0), flight(None, None)]
    seen = {
        NOON: (30.0, 30.0, 0.0),  # the landing at noon is not among those before noon
        "2013-03-01T12:59:59": (30.0, 30.0, 0.0),
        "2013-03-01T13:00": (60.0, 60.0, 0.0),
        "2013-03-01T14:00": (90.0, 60.0, 30.0),  # the landing of half past ten is more than three hours ago; of 30 days it is one
        "2013-03-01T15:59": (90.0, 60.0, 30.0),
        "2013-03-01T16:00": (None, 60.0, None),
    }
    view = carrier_delays["carrier_delay_3h", "carrier_delay_24h", "carrier_change"]
    rows = training_rows(view, {"raw.flights": flights}, [{"carrier": "UA", "at": at} for at in seen], timestamp="at")
    assert [(row["carrier_delay_3h"], row["carrier_delay_24h"], row["carrier_change"]) for row in rows] == list(seen.values())


def test_late_is_more_than_a_quarter_of_an_hour() -> None:
    flights = [flight("2013-03-01T10:00", delay) for delay in (15.0, 16.0, -5.0, 240.0)]
    assert feature_rows(carrier_delays["carrier_late_30d"], {"landings": flights}, at=NOON) == [
        {"carrier": "UA", "feature_timestamp": utc("2013-03-01T11:00"), "carrier_late_30d": 0.5}
    ]


def test_a_route_has_its_record_of_the_days_before() -> None:
    flights = [
        flight("2013-02-20T10:00", 10.0),
        flight("2013-02-28T23:59", 40.0),
        flight("2013-03-01T00:00", 100.0),  # the day's first instant belongs to the day
        flight("2013-02-28T10:00", 7.0, dest="ORD"),
    ]
    assert feature_rows(route_delays, {"raw.flights": flights}, at=NOON) == [
        {
            "origin": "EWR",
            "dest": dest,
            "feature_timestamp": utc("2013-03-01"),
            "route_flights_30d": count,
            "route_delay_7d": week,
            "route_delay_30d": month,
            "route_late_30d": late,
        }
        for dest, count, week, month, late in [("MIA", 2, 40.0, 25.0, 0.5), ("ORD", 1, 7.0, 7.0, 0.0)]
    ]


def test_an_aircraft_carries_its_last_delay_for_a_day() -> None:
    flights = [flight("2013-03-01T10:20", 5.0), flight("2013-03-01T08:00", 50.0), flight("2013-02-10T08:00", 20.0)]
    view = aircraft_delays["aircraft_flights_24h", "aircraft_last_delay_24h", "aircraft_delay_30d"]
    seen = {NOON: (2, 5.0, 25.0), "2013-03-02T09:00": (1, 5.0, 25.0), "2013-03-02T11:00": (0, None, 25.0)}
    rows = training_rows(view, {"raw.flights": flights}, [{"tailnum": "N1", "at": at} for at in seen], timestamp="at")
    assert [(row["aircraft_flights_24h"], row["aircraft_last_delay_24h"], row["aircraft_delay_30d"]) for row in rows] == list(seen.values())


def test_a_flight_is_seen_where_it_leaves_when_it_leaves_and_where_it_lands_when_it_lands() -> None:
    flights = [
        flight("2013-03-01T11:50", 12.0, dep_delay=20.0),
        flight("2013-03-01T12:20", 30.0, departed_at="2013-03-01T09:10", dep_delay=0.0),
        flight(None, None, departed_at=None, dep_delay=None),
    ]
    (left,) = (row for row in feature_rows(airport_delays, {"raw.flights": flights}, at="2013-03-01T09:15") if row["airport"] == "EWR")
    assert left == {
        "airport": "EWR",
        "feature_timestamp": utc("2013-03-01T09:15"),
        "movements_1h": 2,
        "delay_1h": 10.0,
        "delay_3h": 10.0,
        "delayed_1h": 1,
        "delayed_share": 0.5,
    }
    (landed,) = (row for row in feature_rows(airport_delays, {"raw.flights": flights}, at="2013-03-01T12:29") if row["airport"] == "MIA")
    assert (landed["movements_1h"], landed["delay_1h"]) == (1, 12.0)  # the grid of a quarter of an hour has not reached 12:30
    empty = feature_rows(airport_delays["movements_1h", "delayed_share"], {"raw.flights": flights}, at="2013-03-01T20:00")
    assert [(row["movements_1h"], row["delayed_share"]) for row in empty] == [(0, None), (0, None)]


def observation(hour: str, **values: float) -> dict[str, Any]:
    measured = dict.fromkeys(["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"], 1.0)
    return {"airport": "EWR", "time_hour": hour, **measured, **values}


def test_weather_is_the_last_one_observed_for_six_hours() -> None:
    observations = [observation("2013-03-01T06:00", temp=30.0), observation(NOON, temp=40.0)]
    seen = {"2013-03-01T11:59": 30.0, NOON: 40.0, "2013-03-01T18:00": 40.0, "2013-03-01T18:00:00.000001": None}
    rows = training_rows(weather["temp"], {"observations": observations}, [{"airport": "EWR", "at": at} for at in seen], timestamp="at")
    assert [row["temp"] for row in rows] == list(seen.values())


def test_the_fleet_is_known_from_the_first_of_january() -> None:
    fleet = [{"tailnum": "N1", "year": 1999, "seats": 149, "engines": 2}]
    assert feature_rows(aircraft_profile, {"raw.planes": fleet}) == [
        {"tailnum": "N1", "feature_timestamp": utc("2013-01-01"), "aircraft_built": 1999, "aircraft_seats": 149, "aircraft_engines": 2}
    ]


BEFORE = [
    flight("2013-03-01T10:30", 30.0, departed_at="2013-03-01T07:30"),
    flight("2013-02-27T10:00", 50.0, departed_at="2013-02-27T07:00"),
]
ITSELF = flight("2013-03-01T16:00", 300.0, departed_at="2013-03-01T13:10", dep_delay=250.0)
OTHERS = {
    "raw.planes": [{"tailnum": "N1", "year": 1999, "seats": 149, "engines": 2}],
    "raw.weather": [observation("2013-03-01T11:00", wind_speed=10.0, wind_gust=25.0)],
}
ASKED = {"carrier": "UA", "origin": "EWR", "dest": "MIA", "tailnum": "N1", "distance": 1085, "hour": 17, "late": True}


def features_of_flight(flights: list[dict[str, Any]], *times: str) -> list[dict[str, Any]]:
    """The features of the flight that is asked about, as of each time."""
    spine = [{**ASKED, "asked_at": at} for at in times]
    return training_rows(departure_delay, {**OTHERS, "raw.flights": flights}, spine, timestamp="asked_at")


def test_the_service_joins_every_view_as_of_the_question() -> None:
    (row,) = features_of_flight([*BEFORE, ITSELF], "2013-03-01T12:10")
    expected = {
        "carrier_delay_3h": 30.0,
        "carrier_delay_30d": 40.0,
        "carrier_change": -10.0,
        "route_flights_30d": 1,  # today's landing counts from tomorrow
        "route_delay_30d": 50.0,
        "aircraft_flights_24h": 1,
        "aircraft_last_delay_24h": 30.0,
        "origin_delay_3h": None,
        "dest_delay_1h": None,
        "dest_delay_3h": 30.0,
        "origin_weather_wind_gust": 25.0,
        "dest_weather_visib": None,
        "aircraft_built": 1999,
        "delay_per_1000_miles": pytest.approx(1000 * 50 / 1085),
        "aircraft_age": 14,
        "evening": True,
        "gustiness": 15.0,
    }
    assert {name: row[name] for name in expected} == expected
    assert list(row)[: len(ASKED) + 1] == [*ASKED, "asked_at"]


@pytest.mark.slow
def test_a_flight_never_sees_itself() -> None:
    an_hour_before_and_as_it_leaves = ("2013-03-01T12:10", "2013-03-01T13:10")
    assert features_of_flight([*BEFORE, ITSELF], *an_hour_before_and_as_it_leaves) == features_of_flight(
        BEFORE, *an_hour_before_and_as_it_leaves
    )


def test_what_a_flight_does_is_seen_only_after_it_did_it() -> None:
    left, landing, landed = features_of_flight([*BEFORE, ITSELF], "2013-03-01T13:15", "2013-03-01T16:00", "2013-03-01T17:00")
    assert (left["origin_delay_1h"], left["carrier_delay_3h"]) == (250.0, 30.0)
    assert landing["carrier_delay_3h"] is None
    assert landed["carrier_delay_3h"] == 300.0
