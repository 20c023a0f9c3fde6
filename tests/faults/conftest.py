"""Fixtures: a PostgreSQL catalog, if a server is available."""

from collections.abc import Iterator

import pytest

from tests.lakehouse import postgres


@pytest.fixture(scope="session")
def postgres_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL database."""
    with postgres.server(tmp_path_factory.mktemp("postgres")) as address:
        yield address
