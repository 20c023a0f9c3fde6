"""Processes of tests that start fast: all are forked from one that has imported what any of them needs."""

import multiprocessing
from collections.abc import Collection
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

from featurestore.server.jobs import consumer

PRELOADED = [
    "__main__",
    "featurestore.online.lmdb.store",
    *consumer.PRELOADED,
    "pyiceberg.catalog.sql",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "tests.lakehouse.writers",
    "tests.online.processes",
    "tests.pipelines.maintenance.upkeep",
    "tests.pipelines.materialization.killed",
    "tests.pipelines.training_sets.builders",
    "tests.sources.kept.killed",
]
WITH_MLFLOW = "tests.server.models.test_prediction_log"
"""It imports MLflow and scikit-learn, which takes seconds and makes each fork slower: it is preloaded where its tests run."""


def preload_for(tests: Collection[Path]) -> None:
    """Preload what the tests in these files need, too. To be called before the first fork."""
    if any(path.match(f"{WITH_MLFLOW.replace('.', '/')}.py") for path in tests):
        PRELOADED.append(WITH_MLFLOW)


def fork_context() -> ForkServerContext:
    """The context of processes that share nothing with this one.

    Python has one fork server, which imports what was named before the first fork: here it is started with everything, so that a process
    imports nothing itself, whichever test comes first. The jobs of servers in this process are forked from it, too.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context
