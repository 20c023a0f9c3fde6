"""The features and joins of the flights, computed with numpy and pandas from the raw tables, independently of the store."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.demo import data

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SPAN = 10**14
"""More than three years in microseconds: a key's number times this, plus a time, orders by both."""
START = 1_325_376_000_000_000
"""2012, in microseconds."""
FAR = 2**62

Numbers = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def micros(times: "pd.Series[pd.Timestamp]") -> Numbers:
    """Microseconds since 2012."""
    return times.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64) - START


@dataclass(frozen=True)
class Events:
    """Events of a source, by key and time, with what is to be aggregated. Times are in microseconds since 2012."""

    at: Numbers
    values: dict[str, Values]
    created: Numbers
    keys: pd.MultiIndex

    @classmethod
    def of(cls, rows: pd.DataFrame, keys: Sequence[str], time: str, values: Sequence[str], created: str | None = None) -> "Events":
        """The rows with a key; of those at one time the greatest value comes last."""
        rows = rows.dropna(subset=[*keys, time]).sort_values([*keys, time, *values], kind="stable")
        found = pd.MultiIndex.from_frame(rows[list(keys)])
        unique = found.unique()
        at = unique.get_indexer(found).astype(np.int64) * SPAN + micros(rows[time])
        order = np.argsort(at, kind="stable")
        known = micros(rows[created]) if created else np.zeros(len(rows), np.int64)
        return cls(at[order], {name: rows[name].to_numpy(np.float64)[order] for name in values}, known[order], unique)

    def numbered(self, rows: pd.DataFrame, keys: Sequence[str]) -> Numbers:
        """The number of each row's key; that of a key without events has no events either."""
        values = self.keys.get_indexer(pd.MultiIndex.from_frame(rows[list(keys)])).astype(np.int64)
        return np.where(values < 0, len(self.keys), values)

    def before(self, numbers: Numbers, g: Numbers, length: int) -> tuple[Numbers, Numbers]:
        """The events of each key in [g - length, g): the position of the first one, and of the first one after."""
        first, end = (np.searchsorted(self.at, numbers * SPAN + np.maximum(when, 0), "left") for when in (g - length, g))
        return first, end

    def count(self, window: tuple[Numbers, Numbers]) -> Values:
        """How many events are in each window."""
        return (window[1] - window[0]).astype(np.float64)

    def sum(self, name: str, window: tuple[Numbers, Numbers]) -> Values:
        """Their sum; whole minutes, so that no order of adding them matters. NaN for none."""
        running = np.concatenate([[0.0], np.cumsum(self.values[name])])
        return np.where(window[1] > window[0], running[window[1]] - running[window[0]], np.nan)

    def mean(self, name: str, window: tuple[Numbers, Numbers]) -> Values:
        """Their mean; NaN for none."""
        with np.errstate(invalid="ignore"):
            return self.sum(name, window) / self.count(window)

    def last(self, name: str, window: tuple[Numbers, Numbers]) -> Values:
        """The newest; NaN for none."""
        return np.where(window[1] > window[0], self.values[name][window[1] - 1], np.nan)

    def seen(self, numbers: Numbers, g: Numbers) -> npt.NDArray[np.bool_]:
        """Whether the key had any event before g: else it has no row at all."""
        first, end = self.before(numbers, g, FAR)
        return end > first

    def grid(self, every: int, lengths: Sequence[int]) -> tuple[Numbers, Numbers]:
        """Keys and grid points at which a row is stored: after each event, and where it leaves each window."""
        first = (self.at % SPAN + START) // every * every + every - START
        points = np.unique(np.concatenate([self.at // SPAN * SPAN + first + length for length in (0, *lengths)]))
        return points // SPAN, points % SPAN

    def known(self, numbers: Numbers, g: Numbers, length: int) -> Numbers:
        """When each row came to be known: at g, or with the last of its events."""
        first, end = self.before(numbers, g, length)
        ends = np.concatenate([self.created, [0]])
        latest = np.maximum.reduceat(ends, np.column_stack([first, end]).ravel())[::2]
        return np.where(end > first, np.maximum(latest, g), g)


def floor(times: Numbers, every: int) -> Numbers:
    """The last grid point, counted from 1970, at or before each time."""
    return (times + START) // every * every - START


def newest_known(stored: Sequence[tuple[Numbers, Numbers, Numbers]], numbers: Numbers, t: Numbers) -> tuple[Numbers, Numbers]:
    """Of each key's rows (key, time, known since; a triple for each run) the newest by t that was known by then: run and place, or -1."""
    runs = np.concatenate([np.full(len(rows[0]), run) for run, rows in enumerate(stored)])
    places = np.concatenate([np.arange(len(rows[0])) for rows in stored])
    key, at, known = (np.concatenate([rows[column] for rows in stored]) for column in range(3))
    order = np.lexsort((runs, known, at, key))
    key, at, known = key[order], at[order], known[order]
    found = np.searchsorted(key * SPAN + at, numbers * SPAN + t, "right") - 1
    begin = np.searchsorted(key, numbers, "left")
    while (late := (found >= begin) & (known[np.maximum(found, 0)] > t)).any():
        found[late] -= 1
    there = found >= begin
    return np.where(there, runs[order][found], -1), np.where(there, places[order][found], -1)


@dataclass(frozen=True)
class Asked:
    """Raw flights, and the rows of a spine that asks about some."""

    flights: pd.DataFrame
    rows: pd.DataFrame

    @property
    def t(self) -> Numbers:
        """The spine's times."""
        return micros(self.rows["asked_at"])


def demo(asked: Asked) -> dict[str, Values]:
    """Every feature of the demo's service, for each row of the spine; NaN for NULL."""
    parts = (_by_carrier, _by_route, _by_aircraft, _by_airport, _by_weather, _by_machine)
    expected = {name: values for part in parts for name, values in part(asked).items()}
    distance, hour = (asked.rows[name].to_numpy(np.float64) for name in ("distance", "hour"))
    gust, speed = expected["origin_weather_wind_gust"], expected["origin_weather_wind_speed"]
    derived = {
        "delay_per_1000_miles": 1000 * expected["route_delay_30d"] / distance,
        "aircraft_age": 2013 - expected["aircraft_built"],
        "evening": (hour >= 17).astype(np.float64),
        "gustiness": np.where(np.isnan(gust), speed, gust) - speed,
    }
    return expected | derived


def same(found: pa.Table, expected: dict[str, Values]) -> None:
    """Every value of these columns, NULL where NaN is wanted; numbers to the last bit."""
    for name, values in expected.items():
        column = found[name].cast(pa.float64(), safe=False)
        assert column.null_count == np.isnan(values).sum() == pc.sum(pc.is_null(column, nan_is_null=True)).as_py(), name
        differs = np.flatnonzero(column.to_numpy() != values)
        differs = differs[~np.isnan(values[differs])]
        assert differs.size == 0, f"{name}: {differs.size} rows, such as {differs[0]}: {column[differs[0]]}, not {values[differs[0]]}"


def _landings(asked: Asked, *keys: str) -> Events:
    rows = asked.flights.dropna(subset=["arr_delay"])
    return Events.of(rows.assign(late=(rows["arr_delay"] > 15) * 1.0), keys, "landed_at", ["arr_delay", "late"])


def _by_carrier(asked: Asked) -> dict[str, Values]:
    events = _landings(asked, "carrier")
    keys, g = events.numbered(asked.rows, ["carrier"]), floor(asked.t, HOUR)
    delays = {
        f"carrier_delay_{name}": events.mean("arr_delay", events.before(keys, g, w))
        for name, w in [("3h", 3 * HOUR), ("24h", DAY), ("30d", 30 * DAY)]
    }
    return {
        **delays,
        "carrier_late_30d": events.mean("late", events.before(keys, g, 30 * DAY)),
        "carrier_change": delays["carrier_delay_3h"] - delays["carrier_delay_30d"],
    }


def _by_route(asked: Asked) -> dict[str, Values]:
    events = _landings(asked, "origin", "dest")
    keys, g = events.numbered(asked.rows, ["origin", "dest"]), floor(asked.t, DAY)
    month = events.before(keys, g, 30 * DAY)
    return {
        "route_flights_30d": np.where(events.seen(keys, g), events.count(month), np.nan),
        "route_delay_7d": events.mean("arr_delay", events.before(keys, g, 7 * DAY)),
        "route_delay_30d": events.mean("arr_delay", month),
        "route_late_30d": events.mean("late", month),
    }


def _by_aircraft(asked: Asked) -> dict[str, Values]:
    events = _landings(asked, "tailnum")
    keys, g = events.numbered(asked.rows, ["tailnum"]), floor(asked.t, HOUR)
    day = events.before(keys, g, DAY)
    return {
        "aircraft_flights_24h": np.where(events.seen(keys, g), events.count(day), np.nan),
        "aircraft_delay_24h": events.mean("arr_delay", day),
        "aircraft_delay_30d": events.mean("arr_delay", events.before(keys, g, 30 * DAY)),
        "aircraft_last_delay_24h": events.last("arr_delay", day),
    }


def _by_airport(asked: Asked) -> dict[str, Values]:
    columns = ["airport", "at", "delay"]
    moves = [
        asked.flights[list(names)].set_axis(columns, axis=1)
        for names in (("origin", "departed_at", "dep_delay"), ("dest", "landed_at", "arr_delay"))
    ]
    rows = pd.concat(moves).dropna(subset=["delay"])
    events = Events.of(rows.assign(delayed=(rows["delay"] > 15) * 1.0), ["airport"], "at", ["delay", "delayed"])
    expected: dict[str, Values] = {}
    for end in ("origin", "dest"):
        keys, g = events.numbered(asked.rows, [end]), floor(asked.t, 15 * MINUTE)
        hour = events.before(keys, g, HOUR)
        expected[f"{end}_delay_1h"] = events.mean("delay", hour)
        expected[f"{end}_delay_3h"] = events.mean("delay", events.before(keys, g, 3 * HOUR))
        if end == "origin":
            expected["origin_delayed_share"] = events.mean("delayed", hour)
    return expected


def _by_weather(asked: Asked) -> dict[str, Values]:
    names = ["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    # Of two observations of one hour the greater one counts, column by column, and nothing is less than any number.
    rows = data.weather().to_pandas().sort_values(["time_hour", "airport", *names], na_position="first")
    rows = rows.drop_duplicates(["time_hour", "airport"], keep="last")
    spine = asked.rows.reset_index().sort_values("asked_at")
    expected: dict[str, Values] = {}
    for end, columns in (("origin", names), ("dest", ["visib", "wind_gust"])):
        found = pd.merge_asof(
            spine,
            rows,
            left_on="asked_at",
            right_on="time_hour",
            left_by=end,
            right_by="airport",
            tolerance=pd.Timedelta("6h"),
            suffixes=("_asked", ""),
        ).sort_values("index")
        expected |= {f"{end}_weather_{name}": found[name].to_numpy(np.float64) for name in columns}
    return expected


def _by_machine(asked: Asked) -> dict[str, Values]:
    planes = data.planes().to_pandas().set_index("tailnum")
    rows = planes.reindex(asked.rows["tailnum"])
    features = {"aircraft_built": "year", "aircraft_seats": "seats", "aircraft_engines": "engines"}
    return {name: rows[column].to_numpy(np.float64) for name, column in features.items()}
