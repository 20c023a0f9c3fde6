"""Servers that are killed under load lose nothing that they answered, and their entries are in the table once."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import httpx
import pytest

from featurestore import FeatureStore, Settings
from featurestore.audit_log.folder import audit_path, list_segments
from tests import shop
from tests.forked import fork_context
from tests.thorough import choose

KILLS, CLIENTS, REQUESTS = 3, 4, choose(40, thorough=100)


def serve(settings: dict[str, Any], parent: Connection) -> None:
    """Serve until the process is killed."""
    with FeatureStore(settings=Settings(**settings)) as store, shop.serving(store) as url:
        parent.send(url)
        threading.Event().wait()


@contextmanager
def running(store: FeatureStore) -> Iterator[tuple[str, int]]:
    """The address and the id of a server process, which flushes all the time; it is killed at the latest at the end of the block."""
    context = fork_context()
    ours, theirs = context.Pipe(duplex=False)
    settings = {"home": store.settings.home_path(), "audit_log": "on", "audit_log_seconds": 0.05}
    process = context.Process(target=serve, args=(settings, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.poll(60)
        yield ours.recv(), process.pid or 0
    finally:
        process.kill()
        process.join()
        ours.close()


def ask(url: str, name: str, answered: list[str], enough: threading.Event) -> None:
    """Send requests until the server is gone, and note the ids of those that were answered."""
    with httpx.Client(base_url=url) as http:
        number = 0
        while True:
            id = f"{name}-{number}"
            try:
                assert http.get("/v1/services", headers={"X-Request-Id": id}).status_code == 200
            except httpx.TransportError:
                return
            answered.append(id)
            number += 1
            if number == REQUESTS:
                enough.set()


@pytest.mark.slow
def test_kill_9_under_load_loses_and_doubles_nothing(own_shop: FeatureStore) -> None:
    answered: list[str] = []
    for kill in range(KILLS):
        with running(own_shop) as (url, pid):
            enough = threading.Event()
            threads = [threading.Thread(target=ask, args=(url, f"{kill}-{client}", answered, enough)) for client in range(CLIENTS)]
            for thread in threads:
                thread.start()
            assert enough.wait(60)
            os.kill(pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    result = own_shop.verify_audit_log(own_shop.audit_log_heads())
    assert result.verified, result.problems
    # A killed server's chain is continued by the next one.
    assert result.chains == 1
    own_shop.maintain()
    found = Counter(entry.request_id for entry in own_shop.audit_log(limit=10_000) if entry.request_id is not None)
    assert len(answered) >= KILLS * REQUESTS
    assert set(answered) <= found.keys()
    assert set(found.values()) == {1}
    # At most the request of each client that was not answered any more.
    assert len(found) <= len(answered) + KILLS * CLIENTS
    rows = own_shop.catalog.load_table("system.audit").scan(selected_fields=("chain", "number")).to_arrow().to_pylist()
    assert len(rows) == len({(row["chain"], row["number"]) for row in rows}) == own_shop.verify_audit_log().entries
    assert own_shop.verify_audit_log().verified
    assert len(list_segments(audit_path(own_shop.settings))) == 1
