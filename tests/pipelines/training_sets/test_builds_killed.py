"""A build that is killed at any time shows no partial result; the same request completes it, and maintenance removes leftovers."""

import random
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from featurestore import FeatureStore, Settings
from featurestore.pipelines.maintenance import maintain
from featurestore.pipelines.training_sets.digest import table_digest
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.records.stored_sets import TAG
from tests.forked import fork_context
from tests.pipelines.training_sets import builders

TABLES = ("counts_v1", "last_v1")
STEPS = [*range(1, 13), 15, 17]
"""Steps of a build; the later ones are those of its statistics."""
BLIND = 4


def kill(home: Path, name: str, rows: int, dies_at: int, seconds: float | None) -> bool:
    """Whether a process that builds this was killed: at this step, or after so many seconds."""
    process = fork_context().Process(target=builders.die, args=(home, name, rows, dies_at))
    process.start()
    process.join(120 if seconds is None else seconds)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def whole(store: FeatureStore, id: str, digest: str) -> bool:
    """Whether the training set is there, and then wholly: its rows, its place in the list, and tags on all it pins."""
    stored = store.get_training_set(id) if store.backend.has_training_set(id) else None
    listed = [training_set["digest"] for training_set in store.training_sets() if training_set["id"] == id]
    if stored is None:
        assert listed == []
        return False
    assert listed == [stored.digest] == [digest] == [table_digest(stored.to_arrow())]
    for table, snapshot in stored.snapshots.items():
        assert store.catalog.load_table(f"features.{table}").refs()[TAG + id].snapshot_id == snapshot
    return True


def pinning(store: FeatureStore) -> set[str]:
    return {name.removeprefix(TAG) for table in TABLES for name in store.catalog.load_table(f"features.{table}").refs() if name != "main"}


@pytest.mark.slow
def test_a_build_that_dies_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, chance = tmp_path / "home", random.Random(20261121)
    builders.world(Settings(home=home))
    killed, expected = 0, {}
    with FeatureStore(home=home) as store:
        for number in range(len(STEPS) + BLIND):
            # Every fourth build makes its table, the others find it with what dead ones left.
            name, rows = f"set{number // 4}", 20 + number
            prepared = store.backend.prepare_training_set(TrainingSetRequest.of("service", builders.spine(rows), "t", name=name))
            digest = table_digest(store.point_in_time("service", builders.spine(rows), "t"))
            blind = number >= len(STEPS)
            killed += kill(home, name, rows, 0 if blind else STEPS[number], chance.uniform(0, 0.6) if blind else None)
            whole(store, prepared.id, digest)
            # Half of them nobody asks for again.
            if number % 2:
                assert store.training_set("service", builders.spine(rows), "t", name=name).id == prepared.id
                expected[prepared.id] = digest
            assert whole(store, prepared.id, digest) or not number % 2
        assert killed > len(STEPS) // 2
        there = {training_set["id"] for training_set in store.training_sets()}
        assert set(expected) <= there
        assert pinning(store) > there, "some that died after tagging came never"
        check_upkeep(store, monkeypatch)
        for id, digest in expected.items():
            assert store.rebuild(id).digest == digest
    with FeatureStore(settings=Settings(home=home, training_sets_namespace="undisturbed")) as other:
        made = other.training_set("service", builders.spine(rows), "t", name=name)
        assert (made.id, made.digest) == (prepared.id, expected[prepared.id])


def check_upkeep(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Upkeep leaves young builds alone; of old ones that never came it leaves nothing."""
    there, pins = {entry["id"] for entry in store.training_sets()}, pinning(store)
    store.maintain(older_than=timedelta(0))
    assert pinning(store) == pins
    monkeypatch.setattr(maintain, "GRACE", timedelta(0))
    planned = {entry["note"] for entry in store.maintain(older_than=timedelta(0), dry_run=True)}
    assert pinning(store) == pins
    done = {entry["note"] for entry in store.maintain(older_than=timedelta(0))}
    assert done == planned != {None}
    assert pinning(store) == there == {entry["id"] for entry in store.training_sets()}
    assert {entry["note"] for entry in store.maintain(older_than=timedelta(0))} == {None}
    for name in {entry["name"] for entry in store.training_sets()}:
        table = store.catalog.load_table(f"training_sets.{name}")
        files = {str(path) for path in Path(table.location().removeprefix("file://"), "data").rglob("*.parquet")}
        assert files == {entry["file_path"].removeprefix("file://") for entry in table.inspect.all_files().to_pylist()}
