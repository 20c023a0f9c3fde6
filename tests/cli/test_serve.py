"""`serve` as a process: it prints its address, responds, and stops on a signal; several processes share port, jobs and metrics."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from featurestore import connect
from featurestore.cli import main
from tests import shop
from tests.cli.running import COMMAND, environment

pytestmark = pytest.mark.slow


@contextmanager
def serve(folder: Path, *arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The server's process and its URL."""
    command = [*COMMAND, "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment(**variables), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            yield server, line.split()[-1]
        finally:
            if server.poll() is None:
                server.terminate()
            server.wait(30)


def test_it_says_where_answers_and_ends(filled: Path) -> None:
    with serve(filled) as (server, url):
        with connect(url) as store:
            assert [view["name"] for view in store.views()] == ["customer_orders", "customer_profile"]
            assert store.online_features("churn", [{"customer_id": 13}], [{"basket": 1}]).status["customer_orders"] == ("PRESENT",)
        taken = CliRunner().invoke(main, ["serve", "--port", url.rpartition(":")[2]])
        assert taken.exit_code == 1
        assert "pass another --host or --port" in taken.stderr
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0


def test_it_says_so_as_json_and_ends_on_an_interrupt(filled: Path) -> None:
    command = [*COMMAND, "serve", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=filled, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        told = json.loads("".join(server.stdout.readline() for _ in range(4)))
        assert httpx.get(f"{told['url']}/healthz", timeout=30).is_success
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


def test_several_processes_tell_the_same(tmp_path: Path) -> None:
    with shop.open_shop(tmp_path / ".featurestore"):
        pass
    with serve(tmp_path, "--workers", "2", FEATURESTORE_TOKEN="eight-is") as (server, url):
        # A connection stays with one process: a new one for each request meets both.
        options: dict[str, Any] = {"headers": {"Authorization": "Bearer eight-is"}, "timeout": 60}
        body = {"service": "churn", "timestamp": "ordered_at", "spine": {"sql": shop.SPINE_SQL}}
        accepted = httpx.post(f"{url}/v1/training-sets", json=body, **options).json()
        for _ in range(8):
            state = httpx.get(f"{url}{accepted['url']}", params={"wait": 30}, **options).json()
            assert state["state"] == "done"
        for _ in range(10):
            answer = httpx.post(f"{url}/v1/services/plain/online", json={"entities": [{"customer_id": 1}]}, **options)
            assert answer.is_success
        # A process tells the others of its lookups a quarter of a second later.
        deadline = time.monotonic() + 60
        while (counts := {count(httpx.get(f"{url}/metrics", **options).text) for _ in range(6)}) != {10.0}:
            assert max(counts) <= 10
            assert time.monotonic() < deadline, counts
        assert server.poll() is None
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(60) == 0


def count(metrics: str) -> float:
    """The online requests counted."""
    return sum(
        float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("featurestore_requests_total") and "/online" in line
    )
