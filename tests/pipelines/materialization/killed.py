"""A process that materializes and may be killed, forked from one that has imported everything."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from featurestore import FeatureStore, Settings
from featurestore.engine.duck import DuckSession
from featurestore.lakehouse import tables, writes
from featurestore.pipelines.materialization.edition import EditionPublisher


def step_that_kills(at: int) -> Callable[[Any], Any]:
    """A wrapper for what is to be killed at: the process dies by SIGKILL at the n-th step, before or after a call of what was wrapped."""
    steps = iter(range(1, at + 1))

    def step() -> None:
        if next(steps, 0) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(work: Any) -> Any:
        def done(*args: Any, **named: Any) -> Any:
            step()
            result = work(*args, **named)
            step()
            return result

        return done

    return stepping


def run(home: Path, chunk_rows: int, dies_at: int) -> None:
    """Materialize every view; die at the n-th step: before or after files are written, a commit, or a publish."""
    stepping = step_that_kills(dies_at)
    DuckSession.write = stepping(DuckSession.write)  # type: ignore[method-assign]
    for module, name in ((tables, "commit"), (writes, "commit"), (EditionPublisher, "commit")):
        setattr(module, name, stepping(getattr(module, name)))
    with FeatureStore(settings=Settings(home=home, chunk_rows=chunk_rows)) as store:
        store.materialize()


def run_when_asked(home: Path, chunk_rows: int, asked: Connection) -> None:
    """Materialize every view each time that anything is sent, and answer when it is done, until the other end is closed."""
    with FeatureStore(settings=Settings(home=home, chunk_rows=chunk_rows)) as store, suppress(EOFError):
        while True:
            asked.recv()
            store.materialize()
            asked.send("done")
