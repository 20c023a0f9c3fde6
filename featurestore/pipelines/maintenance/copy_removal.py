"""Remove the tables with rows of sources that no view reads any more."""

from collections.abc import Iterable

from featurestore.dsl import documents
from featurestore.lakehouse import dropping, tables, tags
from featurestore.lakehouse.dropping import FolderContents, TableIdentity
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime


def unread_copies(runtime: Runtime, known: Registry, removed: Iterable[Applied]) -> dict[str, TableIdentity]:
    """The copies that only these versions of views read, and no tag pins, by name. `known` may still have the versions."""
    rows = list(removed)
    gone = {(row.name, row.version) for row in rows}
    others = (row for name in known.names("view") for row in known.rows["view", name] if (row.name, row.version) not in gone)
    read = {_copy_of(row) for row in others}
    found: dict[str, TableIdentity] = {}
    for name in sorted({name for row in rows if (name := _copy_of(row)) is not None} - read):
        table = tables.find(runtime.catalog, name)
        if table is not None and not tags.tags(table):
            found[name] = dropping.identity_of(table)
    return found


def copy_contents(runtime: Runtime, copies: dict[str, TableIdentity], *, drop: bool) -> list[FolderContents]:
    """The files of copies, which are dropped with their tables if `drop` says so. Raises: NotReady."""
    look = dropping.drop_table if drop else dropping.folder_contents
    return [look(runtime.catalog, name, identity) for name, identity in copies.items()]


def _copy_of(row: Applied) -> str | None:
    source = documents.source(row.document["source"])
    # Pushed rows are nowhere else.
    return source.kept_table if source.kept and not source.pushed else None
