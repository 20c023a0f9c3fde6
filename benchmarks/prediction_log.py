"""The processor time of a prediction over HTTP whose server logs it, against one whose server does not, in turns."""

import gc
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.http_client import Connection
from benchmarks.servers import Running, running
from featurestore import FeatureStore, Settings
from featurestore.models.prediction_log.log import flush_file

REQUESTS = 200
"""Requests of a round, of one row each."""
LOGS = {"off": "file", "memory": "memory", "file": "file", "fsync": "fsync"}
"""The spool of each server; the first does not log."""


def measure_logs(home: Path, model: str, key: str, rounds: int) -> dict[str, list[float]]:
    """The processor seconds of a request with each kind of log, round by round, with the flush of what was logged.

    The servers do not flush meanwhile: what a flush of all requests in the file takes is divided among them, and added to each kind.
    """
    path = f"/v1/models/{model}/invocations"
    spent: dict[str, list[float]] = {name: [] for name in LOGS}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(_serve, home, name)) for name in LOGS}
        for counted in range(rounds + 1):
            # In another order each time: what runs first after a pause is slower.
            order = list(servers.items())
            for name, server in order[counted % len(order) :] + order[: counted % len(order)]:
                seconds = _post(server, path, key)
                if counted:
                    spent[name].append(seconds / REQUESTS)
        # Before the servers end, which flush then.
        with FeatureStore(home=home) as store:
            # As a server does, whose thread flushes.
            gc.collect()
            gc.freeze()
            began = time.process_time()
            rows = flush_file(store)
            flush = (time.process_time() - began) / rows
            gc.unfreeze()
    return {name: [one if name == "off" else one + flush for one in taken] for name, taken in spent.items()}


def _serve(home: Path, name: str, announce: Callable[[str], None]) -> None:
    # uvicorn would hand its number to processes, which do not have it.
    sys.stdin = None
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(
        Settings(
            home=home,
            port=0,
            prediction_log="off" if name == "off" else "full",
            prediction_spool=LOGS[name],
            prediction_log_seconds=3600,
        ),
        announce,
    )


def _post(server: Running, path: str, key: str) -> float:
    """The processor seconds of the server for the requests of a round."""
    connection = Connection(server.url)
    try:
        bodies = [json.dumps({"dataframe_records": [{key: number}]}).encode() for number in range(REQUESTS)]
        # The first loads the model.
        connection.post(path, bodies[0])
        before = server.processor_seconds()
        for body in bodies:
            connection.post(path, body)
        return server.processor_seconds() - before
    finally:
        connection.close()
