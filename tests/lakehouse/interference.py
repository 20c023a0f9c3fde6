"""Catalogs with interference at the worst moment: another writer's commit, or a lost connection."""

from collections.abc import Callable
from typing import Any, Self

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.typedef import Identifier

from featurestore.settings import CATALOG_NAME


class Interfered(SqlCatalog):
    """Runs `before` once, right before the next commit is carried out, and `after` once, right after it."""

    before: Callable[[], object] | None = None
    after: Callable[[], object] | None = None
    dead = False

    def __enter__(self) -> Self:
        return self

    def die(self) -> None:
        """From now on no question is answered."""
        self.dead = True
        dead_line()

    def load_table(self, identifier: str | Identifier) -> Table:
        if self.dead:
            dead_line()
        return super().load_table(identifier)

    def commit_table(self, table: Table, requirements: tuple[Any, ...], updates: tuple[Any, ...]) -> CommitTableResponse:
        before, self.before = self.before, None
        if before is not None:
            before()
        response = super().commit_table(table, requirements, updates)
        after, self.after = self.after, None
        if after is not None:
            after()
        return response


def open_interfered(catalog: Catalog) -> Interfered:
    """A second catalog on the same tables."""
    return Interfered(CATALOG_NAME, **catalog.properties)


def dead_line() -> None:
    """What a catalog does that stops answering."""
    raise ConnectionResetError("the line is dead")
