"""The processes of `benchmarks.many`, which work until they are told to stop, or killed. Each notes in a file what it begins and ends."""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.many_world import SERVICE, spine
from featurestore import FeatureStore, Settings
from featurestore.errors import LeaseHeld, NotFound
from featurestore.lakehouse import compaction
from featurestore.pipelines.materialization import run as materialization_run

STOP = "stop"
"""The file that ends all processes."""
SETS = 3
REST_SECONDS = 0.05


class Notes:
    """A file of JSON lines, each written at once, so that a kill leaves whole ones."""

    def __init__(self, folder: Path, name: str) -> None:
        self._stop = folder / STOP
        self._file = os.open(folder / f"{name}.{os.getpid()}.notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, **note: Any) -> None:
        os.write(self._file, json.dumps({"at": time.monotonic(), **note}).encode() + b"\n")

    @contextmanager
    def operation(self, name: str) -> Iterator[None]:
        """An operation, which must end in time."""
        self.write(begin=name)
        try:
            yield
        except LeaseHeld:
            self.write(end=name, outcome="waited")
            return
        self.write(end=name, outcome="done")

    def going_on(self) -> bool:
        return not self._stop.exists()


def materializer(store: FeatureStore, notes: Notes, chance: random.Random) -> None:
    """Run every view, or one of them."""
    compute = materialization_run._compute_and_commit

    def counting(*arguments: Any) -> Any:
        notes.write(computing=arguments[2].table)
        result = compute(*arguments)
        notes.write(committed=arguments[2].table, rows=result[0].appended)
        return result

    setattr(materialization_run, "_compute_and_commit", counting)  # noqa: B010 - mypy allows no assignment to a function
    while notes.going_on():
        names = chance.choice([None, None, ["daily"], ["newest", "hourly"]])
        with notes.operation("materialize"):
            store.materialize(names, wait=timedelta(seconds=chance.choice([0, 120])))
        time.sleep(chance.uniform(0, REST_SECONDS))


def builder(store: FeatureStore, notes: Notes, chance: random.Random) -> None:
    """Build training sets, and rebuild one that was built."""
    made: list[tuple[str, str]] = []
    while notes.going_on():
        rows, seed = chance.randrange(50, 200), chance.randrange(5)
        with notes.operation("training set"):
            try:
                built = store.training_set(SERVICE, spine(rows, seed), "t", name=f"set{chance.randrange(SETS)}")
            except NotFound as error:
                # The newest snapshot of a moment ago has expired.
                notes.write(expired=str(error))
                continue
        notes.write(made=built.id, digest=built.digest)
        made.append((built.id, built.digest))
        with notes.operation("rebuild"):
            id_, digest = chance.choice(made)
            assert store.rebuild(id_).digest == digest, id_


def maintainer(store: FeatureStore, notes: Notes, chance: random.Random) -> None:
    """Compact, expire and remove as much as is allowed."""
    compaction.MIN_SMALL_FILES = 2
    while notes.going_on():
        with notes.operation("maintain"):
            store.maintain(older_than=timedelta(0), wait=timedelta(seconds=120))
        time.sleep(chance.uniform(0, 10 * REST_SECONDS))


def reader(store: FeatureStore, notes: Notes, chance: random.Random) -> None:
    """Look features up: all views of an answer are of one edition, and editions do not go back."""
    newest = 0
    while notes.going_on():
        with notes.operation("look up"):
            answer = store.online_features(SERVICE, [{"k": key} for key in range(10)])
        assert answer.edition is not None
        assert answer.edition >= newest, (answer.edition, newest)
        newest = answer.edition
        time.sleep(chance.uniform(0, REST_SECONDS))


ROLES: Mapping[str, Callable[[FeatureStore, Notes, random.Random], None]] = {
    "materializer": materializer,
    "builder": builder,
    "maintainer": maintainer,
    "reader": reader,
}


def work(role: str, settings: str, folder: Path, seed: int) -> None:
    """Work in a role until the end. What goes wrong is noted, and ends the process with status 1."""
    notes = Notes(folder, role)
    # Warnings go to a file: what a killed process began is no news.
    os.dup2(os.open(folder / f"{role}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    try:
        with FeatureStore(settings=Settings.model_validate_json(settings)) as store:
            ROLES[role](store, notes, random.Random(seed))
    except BaseException as error:
        notes.write(error=f"{type(error).__name__}: {error}")
        raise
