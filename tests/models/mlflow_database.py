"""MLflow's database for tests: its tables are made once, and copied for each further database of the process."""

import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mlflow.store.db import utils

_create_tables: Callable[[Engine], None] = utils._initialize_tables
_templates: list[bytes] = []
"""The first database, once there is one."""


def copy_tables() -> None:
    """Let databases of SQLite that MLflow makes from now on begin as copies of the first: its fifty migrations take over a second."""
    utils._initialize_tables = _copy_first


def write_tables(path: Path) -> None:
    """A new database in a file, for a server in a process of its own."""
    engine = create_engine(f"sqlite:///{path}")
    _copy_first(engine)
    engine.dispose()


def _copy_first(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        _create_tables(engine)
        return
    if not _templates:
        _create_tables(engine)
    with closing(engine.raw_connection()) as pooled:
        connection: Any = pooled.driver_connection
        if not _templates:
            _templates.append(connection.serialize())
        else:
            with closing(sqlite3.connect(":memory:")) as template:
                template.deserialize(_templates[0])
                template.backup(connection)
