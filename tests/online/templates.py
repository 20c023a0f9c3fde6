"""Stores that are filled once, with their online stores, and put back as they were filled for each test."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from featurestore import FeatureStore
from tests.worlds import Template

Fill = Callable[[FeatureStore], object]


class OnlineTemplate(Template):
    """A template whose online store is at `url`: in a folder of the store itself, or in Redis."""

    def __init__(self, folder: Path, fill: Fill, redis_url: str | None = None) -> None:
        self.url = redis_url or f"lmdb://{folder / 'home' / 'online'}"
        super().__init__(folder, fill, online=self.url)
        self._address, _, self._prefix = (redis_url or "").partition("?prefix=")
        self._keys: dict[bytes, bytes] = {}
        if self._address:
            with redis.Redis.from_url(self._address) as client:
                self._keys = {name: client.dump(name) for name in self._names(client)}

    @contextmanager
    def opened(self) -> Iterator[FeatureStore]:
        """The store as it was filled. There is one at a time."""
        if self._address:
            with redis.Redis.from_url(self._address) as client:
                client.delete(b"", *self._names(client))
                for name, value in self._keys.items():
                    client.restore(name, 0, value)
        with super().opened() as store:
            yield store

    def _names(self, client: redis.Redis) -> list[bytes]:
        return list(client.scan_iter(f"{self._prefix}*", count=10_000))
