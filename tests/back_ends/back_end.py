"""The catalogs and warehouses that the whole store is tested with, each with real servers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from featurestore import Settings
from tests import s3
from tests.back_ends.rest import gate, server
from tests.lakehouse import postgres


@dataclass(frozen=True)
class BackEnd:
    """An empty catalog: the settings of a store on it, and the names of all files below a folder of its warehouse."""

    settings: Settings
    stored: Callable[[str], set[str]]


@contextmanager
def sqlite_and_folder(folder: Path, request: pytest.FixtureRequest) -> Iterator[BackEnd]:
    def stored(path: str) -> set[str]:
        return {file.name for file in (folder / "home/warehouse" / path).rglob("*") if file.is_file()}

    yield BackEnd(Settings(home=folder / "home"), stored)


@contextmanager
def postgres_and_s3(folder: Path, request: pytest.FixtureRequest) -> Iterator[BackEnd]:
    with postgres.schema(request.getfixturevalue("postgres_address")) as uri, s3.server() as endpoint:
        catalog = {"type": "sql", "uri": uri, "s3.endpoint": endpoint, **s3.ACCESS}
        settings = Settings(home=folder / "home", warehouse=f"s3://lake/{folder.name}", catalog=catalog)
        yield BackEnd(settings, lambda path: s3.stored_names(endpoint, f"lake/{folder.name}/{path}"))


@contextmanager
def rest_and_s3(folder: Path, request: pytest.FixtureRequest) -> Iterator[BackEnd]:
    """Iceberg's own handlers: the store has no credentials for S3 but those that open one table each."""
    classes: str = request.getfixturevalue("rest_classes")
    with gate.gated_server() as (endpoint, _), server.serving(classes, f"s3://lake/{folder.name}", endpoint) as address:
        settings = Settings(home=folder / "home", warehouse=server.WAREHOUSE, catalog=server.properties(address))
        yield BackEnd(settings, lambda path: s3.stored_names(endpoint, f"lake/{folder.name}/{path}"))


OpenBackEnd = Callable[[Path, pytest.FixtureRequest], AbstractContextManager[BackEnd]]
"""Opens a back end in a folder."""
BACK_ENDS: list[OpenBackEnd] = [sqlite_and_folder, postgres_and_s3, rest_and_s3]
