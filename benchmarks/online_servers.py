"""Servers that online benchmarks compare, each pinned to its cores. What imports this module needs no web framework."""

import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from featurestore import Settings

Mget = Callable[[Sequence[bytes]], Awaitable[Any]]


@contextmanager
def two_cores() -> Iterator[tuple[set[int], set[int]]]:
    """A core for the server and one for the client; the same one if there is only one."""
    available = os.sched_getaffinity(0)
    cores = sorted(available)
    try:
        yield {cores[0]}, {cores[-1]}
    finally:
        os.sched_setaffinity(0, available)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def serve_store(
    home: Path, online: str | None, workers: int, cores: set[int], announce: Callable[[str], None], lookup_cache: str = "64MiB"
) -> None:
    """Serve a store; with `online` from that online store."""
    os.sched_setaffinity(0, cores)
    # uvicorn would hand its number to the web processes, which do not have it.
    sys.stdin = None
    from featurestore.server.run import run_server  # noqa: PLC0415

    run_server(Settings(home=home, online=online, port=0, workers=workers, lookup_cache=lookup_cache), announce)


def serve_store_without_cache(home: Path, online: str | None, workers: int, cores: set[int], announce: Callable[[str], None]) -> None:
    """As `serve_store`, for entities that are asked for the first time: nothing is kept of the lookups before."""
    serve_store(home, online, workers, cores, announce, "0B")


def serve_constant(answer: bytes, cores: set[int], announce: Callable[[str], None]) -> None:
    """Serve the same bytes to every request."""
    _serve(answer, None, cores, announce)


def serve_mget(answer: bytes, url: str, names: Sequence[Sequence[bytes]], cores: set[int], announce: Callable[[str], None]) -> None:
    """Serve the same bytes after a bare MGET by redis-py's asyncio client: `names` are the keys of one request after the other."""
    from redis.asyncio import Redis  # noqa: PLC0415

    client = Redis.from_url(url, protocol=2)
    _serve(answer, client.mget, cores, announce, names)


def serve_shared_mget(answer: bytes, url: str, names: Sequence[Sequence[bytes]], cores: set[int], announce: Callable[[str], None]) -> None:
    """As `serve_mget`, by the connections that lookups share."""
    from redis.asyncio import ConnectionPool  # noqa: PLC0415

    from featurestore.online.redis.shared_connections import SharedConnections  # noqa: PLC0415

    connections = SharedConnections(ConnectionPool.from_url(url, protocol=2).make_connection)
    _serve(answer, lambda keys: connections.mget([keys]), cores, announce, names)


def _serve(
    answer: bytes, mget: Mget | None, cores: set[int], announce: Callable[[str], None], names: Sequence[Sequence[bytes]] = ()
) -> None:
    os.sched_setaffinity(0, cores)
    import uvicorn  # noqa: PLC0415

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    next_names = cycle(names).__next__

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            continue
        if mget is not None:
            await mget(next_names())
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    with socket.create_server(("127.0.0.1", 0)) as listening:
        announce(f"http://127.0.0.1:{listening.getsockname()[1]}")
        config = uvicorn.Config(application, loop="uvloop", http="httptools", lifespan="off", access_log=False, log_config=None)
        uvicorn.Server(config).run([listening])
