"""Processes that push and copy are killed at random: what was acknowledged is in the table, each id once."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featurestore import FeatureStore, Settings, Source
from featurestore.pipelines.pushed.copying import EventCopier
from tests.push.logs import log_address
from tests.waiting import wait_until

SCHEMA = {"user_id": "bigint", "at": "timestamptz", "event_id": "varchar"}
ROUNDS = 3
SECONDS = 3.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql", "redis"])
def test_every_acknowledged_id_is_there_once(kind: str, tmp_path: Path) -> None:
    chance = random.Random(kind)
    with log_address(kind, tmp_path) as log:
        with FeatureStore(settings=Settings(home=tmp_path, push_log=log)) as store:
            store.apply([Source("clicks", schema=SCHEMA, timestamp="at", id="event_id")])
        acknowledged: list[str] = []
        copied = 0
        for number in range(ROUNDS):
            roles = [["push", f"{number} a"], ["push", f"{number} b"], *([["copy"]] if number == 0 else [["copy"], ["copy"]])]
            command = [sys.executable, "-m", "tests.push.killed", str(tmp_path), log]
            started = [subprocess.Popen([*command, *role], stdout=subprocess.PIPE, text=True) for role in roles]
            for process in started[: 3 if number == 0 else 2]:
                assert process.stdout is not None
                line = process.stdout.readline()
                acknowledged += [] if "copied" in line else line.split()
                copied += "copied" in line
            time.sleep(chance.uniform(SECONDS / 2, SECONDS))
            for process in chance.sample(started, len(started)):
                process.kill()
            said = [process.communicate()[0] for process in started]
            acknowledged += [id for text in said[:2] for line in text.splitlines() for id in line.split()]
            copied += sum(text.count("copied") for text in said[2:])
        with FeatureStore(settings=Settings(home=tmp_path, push_log=log)) as store:
            copier = EventCopier(store.backend.runtime)
            # The lease of a process that was killed lapses.
            wait_until(lambda: copier.copy() or not store.sources()[0].log.waiting, 90)  # type: ignore[union-attr]
            stored = store.catalog.load_table("kept.clicks").scan(selected_fields=("event_id",)).to_arrow().column(0).to_pylist()
            waiting = [info.log for info in store.sources()]
    assert copied > 0
    assert len(acknowledged) > 100
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert [(log.waiting, log.rows) for log in waiting if log is not None] == [(0, len(stored))]
