"""Every row and column of training sets of real flights, compared with numpy and pandas; the demo's test uses the whole year."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from definitions.flights import aircraft, carrier, departure_delay
from featurestore import FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.demo import data
from tests import flights_by_hand as by_hand
from tests.flights_by_hand import DAY, HOUR, Asked, Events, Values, micros
from tests.worlds import load_source

# Filed under the time a flight was to leave, and known when it has landed: by then it may be long ago.
filed = Source("filed", table="raw.flights", timestamp="scheduled_at", created="landed_at", where="arr_delay IS NOT NULL")
last_leg = FeatureView("last_leg", entity=aircraft, source=filed, ttl="2d", features={"leg_delay": "arr_delay", "leg_flight": "flight"})
filed_delays = FeatureView(
    "filed_delays",
    entity=carrier,
    source=filed,
    every="1h",
    features={"filed": agg.count(over=["3h", "24h"]), "filed_delay": agg.mean("arr_delay", over=["3h", "24h"])},
)
told = FeatureService("told", features=[last_leg, filed_delays])
CUT, END = datetime(2013, 1, 10, tzinfo=UTC), datetime(2013, 1, 20, tzinfo=UTC)
AFTERWARDS = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.mark.slow
def test_training_sets_of_january(tmp_path: Path) -> None:
    """What had landed by CUT is materialized, then all that was to leave by END; each flight is asked about an hour before."""
    flights = data.flights()
    flights = flights.filter(pc.less(flights["scheduled_at"], pa.scalar(END, data.UTC)))
    early = pc.less_equal(flights["landed_at"], pa.scalar(CUT, data.UTC))
    spine = flights.select(["carrier", "origin", "dest", "tailnum", "distance", "hour"]).append_column(
        "asked_at", pc.subtract(flights["scheduled_at"], pa.scalar(HOUR, pa.duration("us")))
    )
    asked = Asked(flights.to_pandas(), spine.to_pandas())
    with FeatureStore(home=tmp_path) as store:
        table = load_source(store, "raw.flights", flights.filter(early))
        load_source(store, "raw.weather", data.weather())
        load_source(store, "raw.planes", data.planes())
        store.apply([departure_delay, told])
        store.materialize(end=CUT)
        table.append(flights.filter(pc.invert(pc.fill_null(early, False))))
        store.materialize(end=AFTERWARDS)
        made = store.training_set("departure_delay", spine, "asked_at")
        rows, expected = made.to_arrow(), by_hand.demo(asked)
        assert rows.select(spine.column_names).equals(spine.cast(rows.select(spine.column_names).schema))
        assert set(expected) == set(made.features)
        by_hand.same(rows, expected)
        assert all((~np.isnan(values)).any() for name, values in expected.items() if not name.startswith("dest_weather"))
        landed = asked.flights.dropna(subset=["arr_delay"])
        for known in ("now", "then"):
            rows = store.training_set("told", spine, "asked_at", name=known, known=known).to_arrow()
            by_hand.same(rows, legs(asked, landed, known) | filings(asked, landed, known))


def legs(asked: Asked, rows: pd.DataFrame, known: str) -> dict[str, Values]:
    names = {"leg_delay": "arr_delay", "leg_flight": "flight"}
    rows = rows.sort_values(["landed_at", *names.values()])
    events = Events.of(rows, ["tailnum"], "scheduled_at", [], "landed_at")
    ordered = rows.dropna(subset=["tailnum"]).sort_values(["tailnum", "scheduled_at", "landed_at", *names.values()])
    at, created = micros(ordered["scheduled_at"]), micros(ordered["landed_at"])
    keys = events.numbered(ordered, ["tailnum"])
    spine = events.numbered(asked.rows, ["tailnum"])
    since = created if known == "then" else np.zeros_like(created)
    run, place = by_hand.newest_known([(keys, at, since)], spine, asked.t)
    there = (run == 0) & (asked.t - at[place] <= 2 * DAY)
    return {name: np.where(there, ordered[column].to_numpy(np.float64)[place], np.nan) for name, column in names.items()}


def filings(asked: Asked, rows: pd.DataFrame, known: str) -> dict[str, Values]:
    """Both runs' rows: the first one's had another value, known earlier, wherever a flight of an earlier hour landed after it."""
    lengths = {"3h": 3 * HOUR, "24h": DAY}
    carriers = Events.of(rows, ["carrier"], "scheduled_at", [])
    stored, values = [], []
    for until in (int(CUT.timestamp()) * 1_000_000 - by_hand.START, by_hand.FAR):
        events = Events.of(rows[micros(rows["landed_at"]) <= until], ["carrier"], "scheduled_at", ["arr_delay"], "landed_at")
        assert events.keys.equals(carriers.keys), "every carrier has landed by the cut"
        keys, g = events.grid(HOUR, list(lengths.values()))
        keys, g = keys[g <= until], g[g <= until]
        windows = {name: events.before(keys, g, length) for name, length in lengths.items()}
        stored.append((keys, g, events.known(keys, g, DAY) if known == "then" else np.zeros_like(g)))
        values.append(
            {f"filed_{name}": events.count(window) for name, window in windows.items()}
            | {f"filed_delay_{name}": events.mean("arr_delay", window) for name, window in windows.items()}
        )
    run, place = by_hand.newest_known(stored, carriers.numbered(asked.rows, ["carrier"]), asked.t)
    return {
        name: np.select([run == 0, run == 1], [filing[name].take(place, mode="clip") for filing in values], np.nan) for name in values[0]
    }
