"""Redis servers and empty stores in them, for tests."""

import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import redis


@contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[str]:
    """host:port of a server that keeps nothing, while the block runs; its options as on the command line."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server: apt-get install redis-server")
    port = free_port()
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
def redis_cluster(folder: Path, nodes: int = 3, tls: "Certificate | None" = None) -> Iterator[list[str]]:
    """host:port of the nodes of a cluster, which share the slots and have no replicas; with a certificate, they take TLS only."""
    with ExitStack() as stack:
        addresses = []
        for number in range(nodes):
            own = folder / f"node{number}"
            own.mkdir()
            # A node listens for the others on a second port, by default its own and 10000, which may be too great.
            options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "2000"]
            if tls is None:
                addresses.append(stack.enter_context(redis_server(own, *options)))
            else:
                port = free_port()
                options += ["--port", "0", "--tls-port", str(port), "--tls-cluster", "yes", "--tls-auth-clients", "no", *tls.options]
                stack.enter_context(redis_server(own, *options))
                addresses.append(f"127.0.0.1:{port}")
        program = shutil.which("redis-cli")
        if program is None:
            pytest.skip("no redis-cli: apt-get install redis-tools")
        secure = [] if tls is None else ["--tls", "--cacert", str(tls.certificate)]
        subprocess.run([program, *secure, "--cluster", "create", *addresses, "--cluster-yes"], check=True, capture_output=True)
        for address in addresses:
            wait_for_cluster(f"redis://{address}" if tls is None else f"rediss://{address}?ssl_ca_certs={tls.certificate}")
        yield addresses


def wait_for_cluster(url: str) -> None:
    """Return when a node says that all slots are served."""
    end = time.monotonic() + 30
    with redis.Redis.from_url(url) as client:
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < end, f"{url} sees no whole cluster"


class Certificate(NamedTuple):
    """The files of a certificate of this machine, which signed itself."""

    certificate: Path
    key: Path

    @property
    def options(self) -> list[str]:
        """The options of a Redis server with this certificate."""
        return ["--tls-cert-file", str(self.certificate), "--tls-key-file", str(self.key), "--tls-ca-cert-file", str(self.certificate)]


def make_certificate(folder: Path) -> Certificate:
    """A certificate for localhost and 127.0.0.1."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl: apt-get install openssl")
    files = Certificate(folder / "certificate.pem", folder / "key.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(files.key), "-out", str(files.certificate)]
    subprocess.run([program, "req", "-x509", *made, *subject], check=True, capture_output=True)
    return files


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
