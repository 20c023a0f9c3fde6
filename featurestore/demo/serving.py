"""The HTTP server as a process of its own, as `featurestore serve` starts it, for as long as the demo needs it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from featurestore.errors import NotReady

COMMAND = [sys.executable, "-c", "from featurestore.cli import main; main()", "serve"]
PATIENCE_SECONDS = 60


@contextmanager
def serving(home: Path, log: Path) -> Iterator[httpx.Client]:
    """A client of a server on a free port of this machine; the server ends with the block. `log` gets what it prints.

    Raises: NotReady when it ends early or does not answer in a minute.
    """
    port = free_port()
    environment = {**os.environ, "FEATURESTORE_HOME": str(home), "FEATURESTORE_PORT": str(port), "FEATURESTORE_HOST": "127.0.0.1"}
    with log.open("wb") as output, subprocess.Popen(COMMAND, env=environment, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) as client:
                _await(process, client, log)
                yield client
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def call(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON answer to a POST. Raises: NotReady with the server's own words when it refuses."""
    answer = client.post(path, json=body)
    if answer.is_error:
        raise NotReady(f"POST {path} answered {answer.status_code}: {answer.text}")
    return dict(answer.json())


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            if client.get("/readyz").is_success:
                return
        # Waiting for the process, not for the clock, so that a server that ends is noticed at once.
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            raise NotReady(f"the server ended with status {process.returncode}; see {log}")
    raise NotReady(f"the server did not get ready in {PATIENCE_SECONDS} seconds; see {log}")
