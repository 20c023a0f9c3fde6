"""After many runs a store has as few files, manifests and snapshots as after a few, and every row and snapshot that it should have."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.manifest import ManifestFile

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.lakehouse import compaction, snapshot_bound, tables
from featurestore.lakehouse.table import Table

DAYS, EARLY = 60, 5
START = datetime(2026, 1, 1, tzinfo=UTC)
thing = Entity("thing", keys="key")
activity = FeatureView(
    "activity",
    entity=thing,
    source=Source("events", table="raw.events", timestamp="at"),
    every="1d",
    features={"n": agg.count(over="3d"), "total": agg.sum("amount", over="3d")},
)
doubled = FeatureView(
    "doubled",
    entity=thing,
    source=Source("activity", table="features.activity_v1", timestamp="feature_timestamp"),
    features={"twice": "n_3d * 2"},
)
service = FeatureService("service", features=[activity])


def events() -> pa.Table:
    """Five events a day, of seven keys in turn."""
    numbers = range(DAYS * 5)
    at = [START + timedelta(hours=4.5 * number) for number in numbers]
    return pa.table({"key": [number % 7 for number in numbers], "amount": [number / 8 for number in numbers], "at": at})


def spine(day: int) -> pa.Table:
    return pa.table({"key": list(range(7)), "asked_at": [START + timedelta(days=day)] * 7})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store with the events, in which nothing was materialized."""
    with FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("home"))) as opened:
        opened.catalog.create_namespace("raw")
        opened.catalog.create_table("raw.events", schema=events().schema).append(events())
        opened.apply([activity, service])
        yield opened


def feature_table(store: FeatureStore) -> Table:
    return tables.load(store.catalog, "features.activity_v1")


def rows(store: FeatureStore, view: str, feature: str) -> list[tuple[Any, ...]]:
    stored = store.catalog.load_table(f"features.{view}_v1").scan().to_arrow()
    return sorted(zip(*(stored[name].to_pylist() for name in ("key", "feature_timestamp", feature)), strict=True))


@pytest.mark.slow
def test_many_runs_leave_little_and_lose_nothing(store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    fetch = ManifestFile.fetch_manifest_entry

    def counting(self: ManifestFile, *arguments: Any, **named: Any) -> Any:
        opened.append(self.manifest_path)
        return fetch(self, *arguments, **named)

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", counting)
    most_opened = 0
    for day in range(1, DAYS + 1):
        opened.clear()
        store.materialize("activity", end=START + timedelta(days=day))
        most_opened = max(most_opened, len(opened))
        if day == EARLY:
            training = store.training_set("service", spine(EARLY), timestamp="asked_at", known="then")
            store.apply([doubled])
            store.materialize("doubled", end=START + timedelta(days=DAYS))
            pin = feature_table(store).snapshot_id
    table = feature_table(store)
    current = table.iceberg.current_snapshot()
    assert current is not None
    # Two months, of which the second is still added to.
    assert len(table.iceberg.inspect.files()) <= 2 * compaction.MIN_RECENT_FILES
    assert len(current.manifests(table.iceberg.io)) <= 20
    assert len(table.snapshot_ids) <= snapshot_bound.MOST_SNAPSHOTS + 2, "with what the training set and the view over the table pin"
    assert len(list(Path(table.location).glob("metadata/*.metadata.json"))) <= 21
    # A scan of the source, one of the table, a merge of files that reads the table again and replaces files in it, and merged manifests.
    assert most_opened <= 4 * 20

    assert pin in table.snapshot_ids
    assert store.rebuild(training.id).digest == training.digest
    store.materialize("doubled", end=START + timedelta(days=DAYS))
    with FeatureStore(settings=Settings(home=tmp_path / "fresh")) as fresh:
        fresh.catalog.create_namespace("raw")
        fresh.catalog.create_table("raw.events", schema=events().schema).append(events())
        fresh.apply([activity, service])
        fresh.apply([doubled])
        fresh.materialize("activity", end=START + timedelta(days=DAYS))
        fresh.materialize("doubled", end=START + timedelta(days=DAYS))
        for view, feature in (("activity", "total_3d"), ("doubled", "twice")):
            assert rows(store, view, feature) == rows(fresh, view, feature)
        keys = [{"key": key} for key in range(7)]
        assert store.online_features("service", keys).rows == fresh.online_features("service", keys).rows
    assert {(online.missing, online.changed, online.extra) for online in store.verify_online()} == {(0, 0, 0)}
    assert not [done.note for done in store.maintain() if done.note]
