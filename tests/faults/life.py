"""The history of a small store through every method that commits, and its expected final state despite faults."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.records import model_events
from featurestore.records.model_events import Event
from tests.worlds import STAMP, load_source

T = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SCHEMA = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])
END = "2026-01-20"
UNDISTURBED = ("more rows", "another day")
"""What is part of a life, and breaks nowhere: rows that come to the source, and runs like the one before them."""
Verb = Callable[[FeatureStore], object]


def events(first: int, last: int) -> pa.Table:
    """An event every three hours, of one key after the other."""
    rows = [{"k": number % 3, "at": T + number * 3 * HOUR, "x": number / 10} for number in range(first, last)]
    return pa.Table.from_pylist(rows, SCHEMA)


def declare(unit: str = "7d") -> list[FeatureService]:
    source, thing = Source("s", table="raw.s", timestamp="at"), Entity("thing", keys="k")
    counts = FeatureView("counts", entity=thing, source=source, every="1d", features={"n": agg.count(over=unit)})
    return [FeatureService("service", features=[counts, FeatureView("last", entity=thing, source=source, features=["x"])])]


def spine() -> pa.Table:
    return pa.table({"k": [row % 4 for row in range(40)], "t": pa.array([T + row * 7 * HOUR for row in range(40)], STAMP)})


def score(store: FeatureStore) -> None:
    model_events.record_events(
        store.catalog, store.settings, [Event("logged", "m", "1", None, None, "t-1", {"counts_v1": 1}, {"auc": 0.5})]
    )


def verbs() -> Iterator[tuple[str, Verb]]:
    """Each verb, with its name, in the order of a life. Sources change in between, over a wire that is whole."""
    yield "apply", lambda store: store.apply(declare())
    yield "materialize", lambda store: store.materialize(end="2026-01-05")
    yield "training set", lambda store: store.training_set("service", spine(), "t", name="first")
    yield "another day", lambda store: store.materialize(end="2026-01-06")
    yield "more rows", lambda store: store.catalog.load_table("raw.s").append(events(60, 90))
    yield "materialize", lambda store: store.materialize(end=END)
    yield "training set", lambda store: store.training_set("service", spine(), "t", name="second")
    yield "model", score
    yield "maintain", lambda store: store.maintain(older_than=timedelta(0))
    yield "apply", lambda store: store.apply(declare("3d"))
    yield "materialize", lambda store: store.materialize(end=END)
    yield "remove", lambda store: store.remove_service("service")
    yield "apply", lambda store: store.apply(declare("3d"))
    yield "materialize", lambda store: store.materialize(end=END)
    yield "maintain", lambda store: store.maintain(older_than=timedelta(0))


def begin(store: FeatureStore) -> None:
    load_source(store, "raw.s", events(0, 60))


def read_outcome(store: FeatureStore) -> dict[str, Any]:
    """What a life comes to; every read must work, and no row be there twice."""
    outcome: dict[str, Any] = {}
    for name in ("counts_v1", "counts_v2", "last_v1"):
        rows = store.catalog.load_table(f"features.{name}").scan().to_arrow().to_pylist()
        stripped = [tuple(sorted((name, str(value)) for name, value in row.items() if name != "created_timestamp")) for row in rows]
        assert len(set(stripped)) == len(stripped), f"{name} has rows twice"
        outcome[name] = sorted(stripped)
    made = store.training_sets()
    outcome["training sets"] = sorted((training_set["name"], training_set["digest"]) for training_set in made)
    for training_set in made:
        assert store.rebuild(training_set["id"]).digest == training_set["digest"]
    outcome["definitions"] = sorted((view["name"], view["version"]) for view in store.views())
    outcome["online"] = store.online_features("service", [{"k": k} for k in range(4)]).to_dict()["rows"]
    outcome["models"] = len(model_events.list_events(store._runtime))
    return outcome
