"""Locked DuckDB connections: UTC, no extensions, no Python variables as tables, and only files in allowed folders."""

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

import duckdb

from featurestore.compiler.expressions import literal
from featurestore.engine.duckdb_errors import translate_errors

CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # Python variables must not be readable as tables by user SQL.
    "python_enable_replacements": "false",
}

GLOBAL_SETTINGS = (
    "SET GLOBAL timezone = 'UTC'; SET GLOBAL disabled_optimizers = 'top_n_window_elimination'; SET GLOBAL asof_loop_join_threshold = 0"
)
"""Settings for all cursors, which a plain SET would not reach. Both optimizations are off because they pass rows through `arg_max`,
which turns -0.0, also in lists, into 0.0."""


@dataclass(frozen=True)
class AllowedFolders:
    """The folders whose files a connection may read and write."""

    folders: tuple[str, ...] = ()
    _parents: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        return tuple(os.path.join(folder, "") for folder in self.folders)

    def covers(self, path: str | Path) -> bool:
        """Whether DuckDB will open this file; like DuckDB, it resolves links first."""
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in self._parents:
            self._parents[folder] = os.path.realpath(folder)
        real = os.path.join(self._parents[folder], name)
        return (os.path.realpath(real) if os.path.islink(real) else real).startswith(self._roots)


NO_FILES = AllowedFolders()
"""No folders: the connection cannot open files."""


def allowed_folders(folders: Iterable[str | Path]) -> AllowedFolders:
    """The allowed folders, with links resolved."""
    return AllowedFolders(tuple(sorted({os.path.realpath(folder) for folder in folders})))


def connect(config: dict[str, str | int], within: AllowedFolders = NO_FILES) -> duckdb.DuckDBPyConnection:
    """Open an in-memory database with a locked configuration. Its cursors are UTC and locked as well.

    It spills to the `temp_directory` of `config`; an empty string disables spilling.
    """
    with translate_errors():
        connection = duckdb.connect(config={**CONFIG, **config})
        try:
            # In a notebook DuckDB would draw its own progress bars.
            connection.execute(f"SET enable_progress_bar = false; {GLOBAL_SETTINGS}").fetchall()
            if within.folders:
                connection.execute(f"SET allowed_directories = [{', '.join(map(literal, within.folders))}]").fetchall()
            connection.execute("SET enable_external_access = false; SET lock_configuration = true").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


Purpose: TypeAlias = Literal["sessions", "expressions", "tests"]
"""What a shared database is for: each purpose has its own memory."""


def small_cursor(purpose: Purpose, memory_limit: str | None = None) -> duckdb.DuckDBPyConnection:
    """A cursor of an in-memory database with one thread and a locked configuration, which opens no files and does not spill.

    To open a database takes 20 ms, and to open a cursor a hundredth of that: the process has one database for each purpose and limit.
    Cursors see nothing of one another, since all that is created is temporary: it is dropped with its cursor.
    """
    return _small_database(os.getpid(), purpose, memory_limit).cursor()


@lru_cache(maxsize=16)
def _small_database(process: int, purpose: Purpose, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
    """A database of this process; a fork of it opens its own."""
    limit: dict[str, str | int] = {} if memory_limit is None else {"memory_limit": memory_limit}
    return connect({"threads": 1, "temp_directory": "", **limit})


# DuckDB says at the end of the process what is still open.
atexit.register(_small_database.cache_clear)


def connect_trusted(config: dict[str, str | int]) -> duckdb.DuckDBPyConnection:
    """Open a database that may read any file; only for statements without any user SQL."""
    with translate_errors():
        connection = duckdb.connect(config={**CONFIG, **config})
        connection.execute(f"SET enable_progress_bar = false; {GLOBAL_SETTINGS}; SET lock_configuration = true").fetchall()
        return connection
