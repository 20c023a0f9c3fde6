"""An S3 server for tests, with a bucket called `lake`."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.fs as pafs
import pytest

ACCESS = {"s3.access-key-id": "test", "s3.secret-access-key": "test", "s3.region": "us-east-1"}


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Its address; it writes its log to the folder and ends with the block."""
    # Not whichever lies on the PATH: before 5.2.5 its answer to a finished upload was an error to pyarrow.
    command = Path(sys.executable).with_name("moto_server")
    if not command.exists():
        pytest.skip("no moto_server in this environment: pip install 'moto[server]>=5.2.5'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        (folder / "moto.log").open("w") as sink,
        subprocess.Popen([command, "-H", "127.0.0.1", "-p", str(port)], stdout=sink, stderr=sink) as running,
    ):
        try:
            _wait_until_it_listens(port)
            endpoint = f"http://127.0.0.1:{port}"
            filesystem(endpoint).create_dir("lake")
            yield endpoint
        finally:
            running.terminate()


def connection(endpoint: str, folder: Path) -> dict[str, str]:
    """The settings of a catalog in the folder whose files lie there."""
    return {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "s3.endpoint": endpoint, **ACCESS}


def filesystem(endpoint: str) -> pafs.S3FileSystem:
    """What is stored there, to look at."""
    return pafs.S3FileSystem(
        access_key="test", secret_key="test", endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True
    )


def stored(endpoint: str, folder: str) -> set[str]:
    """The names of the files in a folder and below."""
    found = filesystem(endpoint).get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    return {info.base_name for info in found if info.type == pafs.FileType.File}


def _wait_until_it_listens(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("moto_server does not listen")
