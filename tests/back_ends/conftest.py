"""Servers that the tests of back ends share."""

from collections.abc import Iterator

import pytest

from tests.back_ends.rest import server
from tests.lakehouse import postgres


@pytest.fixture(scope="session")
def rest_classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The class path of the server of a REST catalog."""
    return server.compile_server(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A PostgreSQL database."""
    with postgres.server() as address:
        yield address
