"""DuckDB connections that are locked: UTC, no extensions, no Python variables as tables, and only the files they are opened with."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import duckdb

from featurestore.compiler.expressions import literal
from featurestore.engine.translation import translated

CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    # A frame in a variable of ours is not a table of the user's.
    "python_enable_replacements": "false",
}

EVERYWHERE = (
    "SET GLOBAL timezone = 'UTC'; SET GLOBAL disabled_optimizers = 'top_n_window_elimination'; SET GLOBAL asof_loop_join_threshold = 0"
)
"""A plain SET would not reach cursors. Both ways of saving time take rows through `arg_max`, which makes -0.0 of a column, or of
its lists, 0.0."""


@dataclass(frozen=True)
class Reach:
    """The folders whose files a connection may read and write; nothing else of the machine."""

    folders: tuple[str, ...] = ()
    _parents: dict[str, str] = field(default_factory=dict, compare=False)

    @cached_property
    def _roots(self) -> tuple[str, ...]:
        return tuple(os.path.join(folder, "") for folder in self.folders)

    def covers(self, path: str | Path) -> bool:
        """Whether DuckDB will open this file, by where it really lies: it follows links before it judges."""
        folder, name = os.path.split(os.path.abspath(path))
        if folder not in self._parents:
            self._parents[folder] = os.path.realpath(folder)
        real = os.path.join(self._parents[folder], name)
        return (os.path.realpath(real) if os.path.islink(real) else real).startswith(self._roots)


NOTHING = Reach()
"""No file at all."""


def reach(folders: Iterable[str | Path]) -> Reach:
    """The reach of these folders, by where they really lie."""
    return Reach(tuple(sorted({os.path.realpath(folder) for folder in folders})))


def connect(config: dict[str, str | int], within: Reach = NOTHING) -> duckdb.DuckDBPyConnection:
    """A database in memory whose configuration cannot be changed any more. Its cursors are UTC and locked as well.

    What it spills goes to the `temp_directory` of `config`, an empty text for none.
    """
    with translated():
        connection = duckdb.connect(config={**CONFIG, **config})
        try:
            # In a notebook the engine would draw bars of its own.
            connection.execute(f"SET enable_progress_bar = false; {EVERYWHERE}").fetchall()
            if within.folders:
                connection.execute(f"SET allowed_directories = [{', '.join(map(literal, within.folders))}]").fetchall()
            connection.execute("SET enable_external_access = false; SET lock_configuration = true").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


def connect_trusted(config: dict[str, str | int]) -> duckdb.DuckDBPyConnection:
    """A database that opens any file: only for statements without a word from a user."""
    with translated():
        connection = duckdb.connect(config={**CONFIG, **config})
        connection.execute(f"SET enable_progress_bar = false; {EVERYWHERE}; SET lock_configuration = true").fetchall()
        return connection
