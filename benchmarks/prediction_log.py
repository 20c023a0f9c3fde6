"""The processor time of a prediction over HTTP whose server logs it, against one whose server does not, in turns."""

import gc
import json
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import cycle, islice
from pathlib import Path

import msgspec

from benchmarks.http_client import Connection
from benchmarks.servers import Running, running
from featurestore import FeatureStore, Settings
from featurestore.models.prediction_log import entry
from featurestore.models.prediction_log.flush import ROWS
from featurestore.models.prediction_log.log import FLUSH_REQUESTS, flush_file, open_spool
from featurestore.models.prediction_log.spool import Spool, Waiting

REQUESTS = 200
"""Requests of a round, of one row each."""
FLUSHES = 3
"""Counted flushes of as many requests as a busy server flushes at once."""
LOGS = {"off": "file", "memory": "memory", "file": "file", "fsync": "fsync"}
"""The spool of each server; the first does not log."""


def measure_logs(home: Path, model: str, key: str, rounds: int) -> dict[str, list[float]]:
    """The processor seconds of a request with each kind of log, round by round, with the flush of what was logged.

    The servers do not flush meanwhile: a row's share of the flush of a busy server is added to each kind.
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
        table, requests = _spooled(home)
    flush = _flush_seconds(home, table, requests)
    return {name: [one if name == "off" else one + flush for one in taken] for name, taken in spent.items()}


def _spooled(home: Path) -> tuple[str, list[Waiting]]:
    """The table of the requests in the file, and some of them."""
    with FeatureStore(home=home) as store, closing(open_spool(store.settings)) as spool:
        [backlog] = spool.backlog()
        return backlog.table, spool.read(backlog.table, 0, ROWS)


def _flush_seconds(home: Path, table: str, requests: Sequence[Waiting]) -> float:
    """The processor seconds of a row in a flush of FLUSH_REQUESTS of one row each, like these. No server may run: it flushes too.

    Many requests a second fill the spool to that number before the time of a flush; where there are few, its fixed costs do not count.
    """
    taken = []
    with FeatureStore(home=home) as store, closing(open_spool(store.settings)) as spool:
        for counted in range(FLUSHES + 1):
            _put(spool, table, list(islice(cycle(requests), FLUSH_REQUESTS)))
            # As a server does, whose thread flushes.
            gc.collect()
            gc.freeze()
            began = time.process_time()
            rows = flush_file(store)
            if counted:
                taken.append((time.process_time() - began) / rows)
            gc.unfreeze()
    return statistics.median(taken)


def _put(spool: Spool, table: str, requests: Sequence[Waiting]) -> None:
    """Add requests again, with ids of their own."""
    for request in requests:
        again = msgspec.structs.replace(entry.decode(request.body), request_id=str(uuid.uuid4()))
        spool.put(table, again.at, request.rows, entry.encode(again))


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
