"""Redis servers and empty stores in them, for tests."""

import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[str]:
    """host:port of a server that keeps nothing, while the block runs; its options as on the command line."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server: apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    for line in server.stdout:
        if "Ready to accept connections" in line:
            break
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.communicate()


@contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """host:port of a server that tests share: the machine's own, or one that runs while the block does."""
    if _answers(6379):
        yield "127.0.0.1:6379"
        return
    with redis_server(folder) as address:
        yield address


@contextmanager
def empty_store(address: str) -> Iterator[str]:
    """The URL of a store with a prefix of its own; its keys are deleted after the block."""
    prefix = f"test-{uuid.uuid4().hex}"
    yield f"redis://{address}/0?prefix={prefix}"
    with redis.Redis.from_url(f"redis://{address}/0") as client:
        for names in _batches(list(client.scan_iter(f"{prefix}*", count=10_000))):
            client.unlink(*names)


def _answers(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _batches(names: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(names), 1000):
        yield names[start : start + 1000]
