"""The tables that one principal may read whole: what the catalog over Iceberg's REST protocol has for it."""

from functools import cached_property
from typing import NamedTuple

from featurestore.access.privileges import LONGEST_NAME, Kind, Privilege
from featurestore.access.rights import Rights
from featurestore.errors import NotFound
from featurestore.lakehouse import metadata_files, tables
from featurestore.lakehouse.granted import Permit
from featurestore.records.runtime import Runtime
from featurestore.values.table_names import folded, is_in


class ReadableTable(NamedTuple):
    """A table that a principal may read whole: the address of its metadata, and the permit to read them."""

    name: str
    address: str
    permit: Permit


class ReadableTables:
    """The tables and namespaces of a catalog that one principal sees. What it may not see is as if it were not there."""

    def __init__(self, runtime: Runtime, rights: Rights) -> None:
        self._runtime, self._rights = runtime, rights
        self._internal, self._joined = runtime.settings.record_namespaces, runtime.settings.joined_namespaces

    def list_namespaces(self, parent: str = "") -> list[str]:
        """The namespaces in a namespace, or at the top, sorted. Raises: NotFound if the parent does not exist."""
        if parent:
            self.require_namespace(parent)
        return [name for name in metadata_files.list_namespaces(self._runtime.catalog, parent) if self._sees(name)]

    def require_namespace(self, namespace: str) -> None:
        """Check that there is such a namespace. Raises: NotFound."""
        if not _is_name(namespace) or self._is_hidden(namespace):
            raise NotFound("namespace", namespace, None)
        if not metadata_files.has_namespace(self._runtime.catalog, namespace) or not self._sees(namespace):
            raise NotFound("namespace", namespace, None)

    def list_tables(self, namespace: str) -> list[str]:
        """The names of the tables in a namespace, sorted. Raises: NotFound if the namespace does not exist."""
        self.require_namespace(namespace)
        return self._tables_of(namespace)

    def find(self, namespace: str, table: str) -> ReadableTable:
        """A table. Raises: NotFound, whether it does not exist or may not be read whole."""
        name = f"{namespace}.{table}"
        # Before the catalog is asked, so that the time of the answer does not tell either.
        if not _is_name(name) or not self._reads_whole(name):
            raise NotFound("table", name, None)
        address = metadata_files.find_metadata(self._runtime.catalog, name)
        if address is None:
            raise NotFound("table", name, None)
        return ReadableTable(name, address, self._rights.permit("TABLE", name))

    def _tables_of(self, namespace: str) -> list[str]:
        names = tables.list_tables(self._runtime.catalog, namespace)
        return [name for name in names if self._reads_whole(f"{namespace}.{name}")]

    def _sees(self, namespace: str) -> bool:
        if self._is_hidden(namespace):
            return False
        if self._rights.has(Privilege.READ, Kind.NAMESPACE, namespace) or self._tables_of(namespace):
            return True
        return any(self._sees(inner) for inner in metadata_files.list_namespaces(self._runtime.catalog, namespace))

    def _reads_whole(self, table: str) -> bool:
        if self._is_hidden(table.rpartition(".")[0]):
            return False
        return self._rights.has(Privilege.READ, Kind.TABLE, table) and self._is_whole(table)

    def _is_whole(self, table: str) -> bool:
        """Whether no policy masks columns or hides rows of a table for the principal: its files have them as they are."""
        if is_in(table, *self._joined) and self._is_under_policy:
            # Who built a training set, or was predicted for, may have seen more of the views behind it.
            return False
        return self._rights.policy_of_table(table).is_open

    @cached_property
    def _is_under_policy(self) -> bool:
        return self._rights.is_under_policies

    def _is_hidden(self, namespace: str) -> bool:
        """Whether a namespace is one of the store's own, which has keys, grants and the audit log, and the principal no administrator."""
        internal = any(f"{folded(namespace)}.".startswith(f"{folded(name)}.") for name in self._internal)
        return internal and not self._rights.is_unlimited


def _is_name(name: str) -> bool:
    """Whether a text may be the name of a table or namespace: catalogs fail in ways of their own with some others."""
    return len(name) <= LONGEST_NAME and name.isprintable() and "/" not in name and all(part.strip() for part in name.split("."))
