"""The server of a REST catalog is compiled once."""

import pytest

from tests.back_ends.rest import server


@pytest.fixture(scope="session")
def rest_classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    return server.compile_server(tmp_path_factory.mktemp("classes"))
