"""Run `featurestore serve` in a separate process for the demo."""

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
TIMEOUT_SECONDS = 60


@contextmanager
def serving(home: Path, log: Path) -> Iterator[httpx.Client]:
    """A client of a server on a free local port, which is stopped at the end of the block; its output goes to `log`.

    Raises: NotReady if it ends early or is not ready within TIMEOUT_SECONDS.
    """
    port = free_port()
    environment = {**os.environ, "FEATURESTORE_HOME": str(home), "FEATURESTORE_PORT": str(port), "FEATURESTORE_HOST": "127.0.0.1"}
    with log.open("wb") as output, subprocess.Popen(COMMAND, env=environment, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_SECONDS) as client:
                _await(process, client, log)
                yield client
        finally:
            process.terminate()
            process.wait(TIMEOUT_SECONDS)


def call(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The JSON response to a POST request. Raises: NotReady with the server's message for an error."""
    response = client.post(path, json=body)
    if response.is_error:
        raise NotReady(f"POST {path} returned {response.status_code}: {response.text}")
    return dict(response.json())


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    until = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            if client.get("/readyz").is_success:
                return
        # Wait for the process instead of sleeping, to notice at once when it ends.
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            raise NotReady(f"the server ended with status {process.returncode}; see {log}")
    raise NotReady(f"the server was not ready within {TIMEOUT_SECONDS} seconds; see {log}")
