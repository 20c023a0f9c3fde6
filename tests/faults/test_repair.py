"""Lost data files are reported and repaired, so that the next run computes their rows again."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from tests.faults import life


def local(path: str) -> Path:
    return Path(path.removeprefix("file://"))


def files_of(store: FeatureStore, name: str, snapshot_id: int) -> set[str]:
    table = store.catalog.load_table(name)
    return {task.file.file_path for task in table.scan(snapshot_id=snapshot_id).plan_files()}


def rows(store: FeatureStore, name: str) -> list[tuple[Any, ...]]:
    found = store.catalog.load_table(name).scan().to_arrow().drop_columns(["created_timestamp"]).to_pylist()
    return sorted(tuple(map(str, row.values())) for row in found)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(home=tmp_path / "home")
    life.begin(store)
    store.apply(life.declare())
    for day in ("2026-01-03", "2026-01-05", "2026-01-08"):
        store.materialize(end=day)
    return store


@pytest.mark.slow
def test_the_last_whole_snapshot_is_gone_back_to(store: FeatureStore) -> None:
    names = ("features.counts_v1", "features.last_v1")
    whole = {name: rows(store, name) for name in names}
    online = store.online_features("service", [{"k": 1}]).rows
    early = store.training_set("service", life.spine(), "t", name="early", snapshots=snapshots_at(store, 1))
    late = store.training_set("service", life.spine(), "t", name="late")
    table = tables.load(store.catalog, names[0])
    _, second, third = table.snapshot_ids
    lost = files_of(store, names[0], third) - files_of(store, names[0], second)
    for path in lost:
        local(path).unlink()

    (told,) = store.repair(dry_run=True)
    assert (told["table"], told["missing"], told["back_to"]) == (names[0], len(lost), str(second))
    assert told["training_sets"] == [late.id]
    (noted,) = [report["note"] for report in store.maintain(older_than=timedelta(0)) if report["note"]]
    assert "files of its current snapshot are missing" in noted
    assert "featurestore doctor --repair" in noted
    assert second in tables.load(store.catalog, names[0]).snapshot_ids, "upkeep keeps what there is to go back to"

    assert store.repair() == [told]
    assert tables.load(store.catalog, names[0]).snapshot_id == second
    assert [report["missing"] for report in store.repair(dry_run=True)] == [0], "the pinned snapshot stays, and its training set is named"
    store.materialize(end="2026-01-08")
    assert {name: rows(store, name) for name in names} == whole
    assert store.online_features("service", [{"k": 1}]).rows == online
    assert store.rebuild(early.id).digest == early.digest
    with pytest.raises(FeatureStoreError):
        store.rebuild(late.id)
    assert [run.rows_appended for run in store.materialize(end="2026-01-08")] == [0, 0]


def snapshots_at(store: FeatureStore, index: int) -> dict[str, int | None]:
    return {name: tables.load(store.catalog, f"features.{name}").snapshot_ids[index] for name in ("counts_v1", "last_v1")}


@pytest.mark.slow
@pytest.mark.parametrize("what", ["data", "manifests", "manifest list"])
def test_a_table_of_which_nothing_is_whole_begins_anew(store: FeatureStore, what: str) -> None:
    name = "features.counts_v1"
    whole = rows(store, name)
    table = tables.load(store.catalog, name)
    for snapshot_id in table.snapshot_ids:
        snapshot = table.iceberg.snapshot_by_id(snapshot_id)
        assert snapshot is not None
        gone = {
            "data": files_of(store, name, snapshot_id) if what == "data" else set(),
            "manifests": {manifest.manifest_path for manifest in snapshot.manifests(table.iceberg.io)} if what == "manifests" else set(),
            "manifest list": {snapshot.manifest_list},
        }[what]
        for path in filter(lambda path: local(path).exists(), gone):
            local(path).unlink()
    (told,) = store.repair()
    assert (told["table"], told["back_to"]) == (name, None)
    assert store.repair(dry_run=True) == []
    store.materialize(end="2026-01-08")
    assert rows(store, name) == whole
    assert store.online_features("service", [{"k": 1}]).status


@pytest.mark.slow
def test_the_registry_is_applied_again(store: FeatureStore) -> None:
    store.apply(life.declare("3d"))
    table = tables.load(store.catalog, "registry.definitions")
    first, second = table.snapshot_ids
    for path in files_of(store, "registry.definitions", second) - files_of(store, "registry.definitions", first):
        os.unlink(local(path))
    (told,) = store.repair()
    assert (told["back_to"], "apply" in told["todo"]) == (str(first), True)
    store.apply(life.declare("3d"))
    store.materialize(end="2026-01-08")
    assert [view["version"] for view in store.views()] == [2, 1]
