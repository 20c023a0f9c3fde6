"""Pushed events in lookups: against the brute-force oracle at the instant of each question, through crashes, publishes and two servers."""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg, connect
from featurestore.masking import Secret
from featurestore.pipelines.online_lookup.lookup import lookup
from featurestore.push.lot import Lot, make_lot
from featurestore.sources.kept.pushed_table import pushed_columns
from featurestore.values import times
from tests import oracle, shop
from tests.compiler.test_windows_oracle import close
from tests.thorough import choose
from tests.waiting import wait_until

SECOND = 1_000_000
LENGTHS = {"1s": SECOND, "3s": 3 * SECOND}
KEYS = (1, 2, 3)
SCHEMA = {"k": "bigint", "t": "timestamptz", "x": "double", "id": "varchar"}
FUNCTIONS = ("count", "sum", "mean", "min", "last", "count_distinct", "percentile")
USER = Entity("user", keys="k")
CLICKS = Source("clicks", schema=SCHEMA, timestamp="t", id="id")


def service() -> FeatureService:
    features: dict[str, Any] = {"rows": agg.count(over=[*LENGTHS, "all"]), "recent": agg.sum("x", last=2)}
    for function in FUNCTIONS:
        features[function] = getattr(agg, function)("x", over=list(LENGTHS), **({"q": 0.3} if function == "percentile" else {}))
    windows = FeatureView("windows", entity=USER, source=CLICKS, every="continuous", features=features)
    short = FeatureView("short", entity=USER, source=CLICKS, every="continuous", features={"n": agg.count(over="1s")})
    grid = FeatureView("grid", entity=USER, source=CLICKS, every="1h", features={"in_grid": agg.count(over="1h")})
    newest = FeatureView("newest", entity=USER, source=CLICKS, features={"x": "x", "id": "id"})
    return FeatureService("clicked", features=[windows, short, newest, grid])


def opened(home: Path, url: str) -> FeatureStore:
    return FeatureStore(settings=Settings(home=home, online=Secret(url)))


@pytest.fixture
def stores(tmp_path: Path, url: str) -> Iterator[tuple[FeatureStore, FeatureStore]]:
    """Two processes' stores over one catalog and one online store."""
    with opened(tmp_path / "home", url) as first, opened(tmp_path / "home", url) as second:
        first.apply([service()])
        yield first, second


def ask(store: FeatureStore, events: list[dict[str, Any]]) -> int:
    """Compare a lookup of now with all that was acknowledged; returns the number of values."""
    at = times.now()
    answer = lookup(store._runtime, store._services.current("clicked"), [{"k": k} for k in KEYS], None, store._online_tables, at=at)
    for k, values, *statuses in zip(KEYS, answer.rows, *(answer.status[view] for view in ("windows", "short", "newest")), strict=True):
        row = dict(zip(answer.features, values, strict=True))
        own = [event for event in events if event["k"] == k and event["t"] < at]
        if not own:
            assert statuses == ["NOT_FOUND"] * 3
            continue
        assert statuses == ["PRESENT"] * 3
        newest = max(own, key=lambda event: (event["t"], event["c"], oracle.value_order(event["x"]), event["id"]))
        assert (row["x"], row["id"]) == (newest["x"], newest["id"])
        assert (row["rows_all"], row["n_1s"]) == (len(own), len(oracle.window(own, at, SECOND)))
        assert row["recent_last2"] == oracle.aggregate("sum", oracle.latest(own, at, 2))
        for label, length in LENGTHS.items():
            inside = oracle.window(own, at, length)
            assert row[f"rows_{label}"] == len(inside), (k, label, at)
            for function in FUNCTIONS:
                assert close(row[f"{function}_{label}"], oracle.aggregate(function, inside, q=0.3)), (k, function, label, at)
    return sum(map(len, answer.rows))


@pytest.mark.slow
def test_answers_have_what_was_acknowledged_before(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """Late, doubled, tied and corrected events, runs, publishes and a lost online store between them."""
    chance = random.Random(choose(11, thorough=int(time.time())))
    events: list[dict[str, Any]] = []
    asked = 0
    for number in range(choose(40, thorough=400)):
        store = chance.choice(stores)
        action = chance.choices(["push", "again", "run", "publish", "copy", "lose"], [30, 5, 3, 2, 1, 1])[0]
        if action == "push":
            now = times.now()
            ages = [0, 0, 500_000, SECOND, 3 * SECOND, 5 * SECOND, 60 * SECOND]
            rows: list[dict[str, Any]] = [
                {
                    "k": chance.choice(KEYS),
                    "t": now - chance.choice(ages) - chance.randrange(3),
                    "x": chance.choice([None, 0.5, -1.25, 3.0, 0.1]),
                    "id": f"{number}-{place}",
                }
                for place in range(chance.randrange(1, 5))
            ]
            done = store.push("clicks", [{**row, "t": times.moment(row["t"])} for row in rows])
            assert (done.new, done.late) == (len(rows), None)
            assert done.acknowledged is not None
            events += [{**row, "c": times.micros(done.acknowledged)} for row in rows]
        elif action == "again" and events:
            known = chance.choice(events)
            done = store.push("clicks", [{"k": known["k"], "t": times.moment(known["t"]), "x": 99.0, "id": known["id"]}])
            assert (done.new, done.known) == (0, 1)
        elif action == "run":
            store.materialize()
        elif action == "publish":
            store.publish(full=True)
        elif action == "copy":
            store.materialize("grid")
        elif action == "lose":
            for table in ("windows_v1", "windows_v1~ahead", "newest_v1"):
                store._runtime.online.drop(table)
            store.publish()
        asked += ask(chance.choice(stores), events)
    assert asked > 1000
    stores[0].materialize()
    assert all(comparison.same for comparison in stores[1].verify_online(["windows", "short", "newest"]))


CHILD = """
import sys, time
from datetime import UTC, datetime
from featurestore import FeatureStore, Settings
store = FeatureStore(settings=Settings(home=sys.argv[1], online=sys.argv[2]))
number = 0
while True:
    rows = [{"k": 1, "t": datetime.now(UTC), "x": 1.0, "id": f"{sys.argv[3]}-{number}-{place}"} for place in range(3)]
    store.push("clicks", rows)
    number += 1
    print(number * 3, flush=True)
"""


@pytest.mark.slow
def test_a_kill_loses_nothing_and_doubles_nothing(stores: tuple[FeatureStore, FeatureStore], tmp_path: Path, url: str) -> None:
    acknowledged, pushed = 0, stores[0].push("clicks", [{"k": 1, "t": times.moment(times.now()), "x": 1.0, "id": "first"}]).new
    for attempt in range(choose(2, thorough=10)):
        command = [sys.executable, "-c", CHILD, str(tmp_path / "home"), url, str(attempt)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(random.Random(attempt).randrange(2, 6))]
            child.send_signal(signal.SIGKILL)
            lines += child.stdout.read().splitlines()
        acknowledged += int([line for line in lines if line.strip()][-1])
        # Whatever a killed process left is brought online by the next that looks.
        stores[0].push("clicks", [{"k": 2, "t": times.moment(times.now()), "x": 1.0, "id": f"after-{attempt}"}])
        [[count]] = [row[:1] for row in _counts(stores[1], [1])]
        assert acknowledged + pushed <= count <= acknowledged + pushed + 3 * (attempt + 1)
    stream = stores[0]._runtime.event_log.status(stores[0].catalog.load_table("kept.clicks").metadata.table_uuid.__str__())
    assert _counts(stores[0], [1])[0][0] + _counts(stores[0], [2])[0][0] == stream.rows


def _counts(store: FeatureStore, keys: list[int]) -> list[tuple[Any, ...]]:
    answer = store.online_features("clicked", [{"k": k} for k in keys])
    place = answer.features.index("rows_all")
    return [(row[place],) for row in answer.rows]


@pytest.mark.slow
def test_what_is_pushed_during_a_run_stays(stores: tuple[FeatureStore, FeatureStore]) -> None:
    """The first run, later ones and full publishes, while another process pushes all the time."""
    events: list[dict[str, Any]] = []
    first, second = stores
    stop = threading.Event()

    def push() -> None:
        while not stop.is_set():
            row: dict[str, Any] = {"k": KEYS[len(events) % 3], "t": times.now(), "x": float(len(events)), "id": str(len(events))}
            done = second.push("clicks", [{**row, "t": times.moment(row["t"])}])
            assert done.acknowledged is not None
            events.append({**row, "c": times.micros(done.acknowledged)})

    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(push)
        wait_until(lambda: len(events) > 2)
        try:
            for publish in (first.materialize, first.materialize, lambda: first.publish(full=True), first.materialize):
                publish()
        finally:
            stop.set()
        pushing.result()
    first.publish()
    ask(first, events)
    assert len(events) > 4


@pytest.mark.slow
def test_a_push_to_one_server_is_in_the_answers_of_another(stores: tuple[FeatureStore, FeatureStore]) -> None:
    first, second = stores
    with shop.serving(first) as here, shop.serving(second) as there, connect(here) as pushing, connect(there) as asking:
        for number in range(1, 4):
            done = pushing.push("clicks", [{"k": 1, "t": times.moment(times.now()), "x": float(number), "id": str(number)}])
            assert done.late is None
            began = time.monotonic()
            wait_until(lambda number=number: asking.online_features("clicked", [{"k": 1}]).to_dict()["rows"][0][2] == number)  # type: ignore[misc]
            assert time.monotonic() - began < 30
        # What a process wrote to the log and left.
        stream = first._runtime.event_log
        assert stream.last(str(first.catalog.load_table("kept.clicks").metadata.table_uuid)) == 3
        first._runtime.pushes.append(
            str(first.catalog.load_table("kept.clicks").metadata.table_uuid), _lot(times.now() - int(timedelta(seconds=1).total_seconds()))
        )
        wait_until(lambda: asking.online_features("clicked", [{"k": 1}]).to_dict()["rows"][0][2] == 4)


def _lot(at: int) -> Lot:
    schema = pa.schema([field for field in pushed_columns(CLICKS) if field.name in SCHEMA])
    return make_lot(pa.Table.from_pylist([{"k": 1, "t": times.moment(at), "x": 1.0, "id": "left"}], schema), "t", "id")
