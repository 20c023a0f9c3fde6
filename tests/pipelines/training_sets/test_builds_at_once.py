"""Concurrent builds, runs and maintenance in separate processes: equal requests make one training set, and none is lost."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, Settings
from featurestore.records.stored_sets import TAG
from tests.forked import fork_context
from tests.lakehouse import postgres
from tests.pipelines.training_sets import builders

BUILDERS = 3


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """A store on either kind of catalog."""
    if request.param == "sqlite":
        settings = Settings(home=tmp_path)
        builders.world(settings)
        yield settings
        return
    with postgres.server() as address, postgres.schema(address) as uri:
        settings = Settings(home=tmp_path, catalog={"type": "sql", "uri": uri})
        builders.world(settings)
        yield settings


def at_once(settings: Settings, works: list[tuple[Callable[..., None], Any]]) -> list[tuple[int, str, str, str]]:
    """Do these works at once, each in a process; what the builders came to: rows, id, digest and snapshot of each training set."""
    processes = fork_context()
    barrier, outcomes = processes.Barrier(len(works)), processes.Queue()
    running = []
    for work, argument in works:
        arguments = (settings, argument, barrier, *([outcomes] if work is builders.build else []))
        running.append(processes.Process(target=work, args=arguments))
    for process in running:
        process.start()
    results = [outcomes.get(timeout=60) for work, argument in works if work is builders.build for _ in argument]
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    return sorted(results)


@pytest.mark.slow
def test_builds_at_once(settings: Settings) -> None:
    same_and_others(settings)
    beside_runs_and_upkeep(settings)


def same_and_others(settings: Settings) -> None:
    """The same request is one training set, and others of its name are others."""
    same, others = [("a", 20), ("a", 21)], [("a", 30 + number) for number in range(BUILDERS)]
    results = at_once(settings, [(builders.build, [*same, other]) for other in others])
    assert len(results) == BUILDERS * 3
    assert len(set(results)) == len(same) + BUILDERS, "one id, digest and snapshot for each request"
    with FeatureStore(settings=settings) as store:
        listed = {
            (training_set["rows"], training_set["id"], training_set["digest"], training_set["snapshot_id"])
            for training_set in store.training_sets()
        }
        assert listed == set(results)
        table = store.catalog.load_table("training_sets.a")
        assert len(table.snapshots()) == len(listed)
        for rows, id, digest, snapshot in listed:
            assert table.refs()[TAG + id].snapshot_id == int(snapshot)
            assert all(TAG + id in store.catalog.load_table(f"features.{name}").refs() for name in ("counts_v1", "last_v1"))
            assert store.rebuild(id).digest == digest
            assert store.rebuild(id).to_arrow() == store.point_in_time("service", builders.spine(rows), "t")
        files = list(Path(table.location().removeprefix("file://"), "data").rglob("*.parquet"))
        assert len(files) == len(listed), "who came second left no file"


def beside_runs_and_upkeep(settings: Settings) -> None:
    """What it pinned stays, though corrections come and old snapshots go while it is at work."""
    requests = [("beside", 70 + number) for number in range(4)]
    results = at_once(settings, [(builders.build, requests), (builders.change, len(requests))])
    with FeatureStore(settings=settings) as store:
        made = [store.get_training_set(id) for _, id, *_ in results]
        assert len({training_set.snapshots["last_v1"] for training_set in made}) > 1
        store.maintain(older_than=timedelta(0))
        assert [store.rebuild(training_set.id).digest for training_set in made] == [digest for *_, digest, _ in results]
