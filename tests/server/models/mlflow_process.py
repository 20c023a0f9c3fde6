"""A real MLflow server in a process of its own, whose webhooks may call servers on this machine."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from cryptography.fernet import Fernet

from featurestore.demo.serving import free_port
from tests.models.mlflow_database import write_tables

START_SECONDS = 120


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of an MLflow server that keeps everything in a folder, as long as the block lasts."""
    port = free_port()
    write_tables(folder / "mlflow.db")
    database, log = f"sqlite:///{folder / 'mlflow.db'}", folder / "mlflow.log"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        database,
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    environment = {
        **os.environ,
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        # A new webhook is called from the next event on.
        "MLFLOW_WEBHOOK_CACHE_TTL": "0",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # It would start eight more processes for jobs that nobody asks for.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"], env=environment, stdout=output, stderr=output
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _await(process, url, log)
            yield url
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _await(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health").is_success:
                return
        # Wait for the process instead of sleeping, to notice at once when it ends.
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            break
    raise AssertionError(f"MLflow did not start:\n{log.read_text()[-2000:]}")
