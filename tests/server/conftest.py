"""A served shop that tests only read, and clients of it."""

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
def serve(home: Path) -> Iterator[Served]:
    """The shop in a folder, behind a real server."""
    with shop.open_shop(home) as store, shop.serving(store) as url, httpx.Client(base_url=url) as http:
        yield Served(store, http)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The shop behind a real server; a test that changes it opens one of its own."""
    with serve(tmp_path_factory.mktemp("shop")) as opened:
        yield opened


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A shop of the test's own."""
    with serve(tmp_path) as opened:
        yield opened
