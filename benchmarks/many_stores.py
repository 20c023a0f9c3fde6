"""The catalogs of `benchmarks.many`."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from featurestore import Settings
from tests.back_ends.rest import gate, server
from tests.lakehouse import postgres


@contextmanager
def sqlite(folder: Path) -> Iterator[Settings]:
    """SQLite and a folder."""
    yield Settings(home=folder / "home")


@contextmanager
def postgresql(folder: Path) -> Iterator[Settings]:
    """PostgreSQL and a folder."""
    with postgres.server() as address, postgres.schema(address) as uri:
        yield Settings(home=folder / "home", catalog={"type": "sql", "uri": uri})


@contextmanager
def rest(folder: Path) -> Iterator[Settings]:
    """Iceberg's own REST handlers and S3, with credentials for one table each."""
    # It logs each request.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    (folder / "classes").mkdir()
    classes = server.compile_server(folder / "classes")
    with gate.gated_server() as (endpoint, _), server.serving(classes, f"s3://lake/{folder.name}", endpoint) as address:
        yield Settings(home=folder / "home", warehouse=server.WAREHOUSE, catalog=server.properties(address))


STORES: dict[str, Callable[[Path], AbstractContextManager[Settings]]] = {"sqlite": sqlite, "postgresql": postgresql, "rest": rest}
