"""Fixtures: a PostgreSQL catalog, if a server is available."""

from collections.abc import Iterator

import pytest

from tests.lakehouse import postgres


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A PostgreSQL database."""
    with postgres.server() as address:
        yield address
