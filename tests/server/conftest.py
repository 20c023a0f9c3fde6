"""A served shop, and clients of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from featurestore import FeatureStore
from tests import shop


@dataclass(frozen=True)
class Served:
    """A store, and an HTTP client of the server over it."""

    store: FeatureStore
    http: httpx.Client


@contextmanager
def serve(home: Path, jobs: bool = False) -> Iterator[Served]:
    """The shop in a folder, behind a real server."""
    with shop.open_shop(home) as store, shop.serving(store, jobs) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield Served(store, http)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop behind a real server that does jobs. All tests here share it: they may add to it, but nothing of customers 1 and 2."""
    with serve(tmp_path_factory.mktemp("shop"), jobs=True) as opened:
        yield opened


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A shop of the test's own, whose server takes jobs and does none."""
    with serve(tmp_path) as opened:
        yield opened
