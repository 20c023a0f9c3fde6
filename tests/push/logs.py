"""Logs of pushed events of every kind, each empty, for tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lakehouse import postgres
from tests.online.redis.redis_server import redis_server


@contextmanager
def log_address(kind: str, folder: Path) -> Iterator[str]:
    """The setting push_log for a new log."""
    if kind == "postgresql":
        with postgres.server() as server, postgres.schema(server) as schema:
            yield schema
    elif kind == "redis":
        data = folder / "redis"
        data.mkdir(exist_ok=True)
        with redis_server(data, "--appendonly", "yes", "--appendfsync", "always") as address:
            yield f"redis://{address}/0"
    else:
        yield f"sqlite://{folder / 'log.sqlite'}"
