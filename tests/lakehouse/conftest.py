"""Fixtures: a catalog in a new folder, on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from featurestore.lakehouse.catalog import open_catalog
from featurestore.settings import Settings
from tests.lakehouse import postgres


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A PostgreSQL database."""
    with postgres.server() as address:
        yield address


@pytest.fixture
def sqlite_settings(tmp_path: Path) -> Settings:
    """The default settings in a folder of its own."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Settings for either kind of catalog."""
    if request.param == "sqlite":
        yield Settings(home=tmp_path / "home")
        return
    with postgres.schema(request.getfixturevalue("postgres_address")) as uri:
        yield Settings(home=tmp_path / "home", catalog={"type": "sql", "uri": uri})


@pytest.fixture
def both(settings: Settings) -> Iterator[Catalog]:
    """A catalog of either kind."""
    opened = open_catalog(settings)
    yield opened
    opened.close()


@pytest.fixture
def catalog(sqlite_settings: Settings) -> Iterator[Catalog]:
    """The default catalog."""
    opened = open_catalog(sqlite_settings)
    yield opened
    opened.close()
