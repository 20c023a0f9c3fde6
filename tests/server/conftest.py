"""Fixtures: a server with a small shop, and its clients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest

from featurestore import FeatureStore
from tests import shop
from tests.server.wide import open_wide


@dataclass(frozen=True)
class Served:
    """A store, and an HTTP client of the server over it."""

    store: FeatureStore
    http: httpx.Client

    @property
    def url(self) -> str:
        """The server's address."""
        return str(self.http.base_url).rstrip("/")


@contextmanager
def serve(store: FeatureStore, jobs: bool = False) -> Iterator[Served]:
    """The store behind a real server."""
    with shop.serving(store, jobs) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield Served(store, http)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop behind a real server that runs jobs. All tests here share it; they may add rows, but not of customers 1 and 2."""
    with shop.open_shop(tmp_path_factory.mktemp("shop")) as store, serve(store, jobs=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The store of `wide` behind a real server. Tests change nothing in it."""
    with open_wide(tmp_path_factory.mktemp("wide")) as store, serve(store) as served:
        yield served


@pytest.fixture
def own(own_shop: FeatureStore) -> Iterator[Served]:
    """A shop for one test, whose server accepts jobs and runs none."""
    with serve(own_shop) as opened:
        yield opened
