"""What other Iceberg catalogs serve of this one: names of namespaces, and the metadata of tables as they lie in the warehouse."""

import zlib
from collections.abc import Mapping
from typing import Any

import orjson
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchNamespaceError
from pyiceberg.io import load_file_io

from featurestore.errors import NotReady, TooLarge
from featurestore.lakehouse import tables
from featurestore.lakehouse.catalog_errors import UNREACHABLE, to_store_error, translating_errors
from featurestore.lakehouse.granted import Permit, check_permit
from featurestore.values.humanize import format_size

MOST_BYTES = 32 << 20
"""Largest metadata that are read, of some 30,000 snapshots: they are parsed in the memory of a server."""
_COMPRESSED = (".gz.metadata.json", ".metadata.json.gz")
_GZIP = 16 + zlib.MAX_WBITS


def list_namespaces(catalog: Catalog, parent: str = "") -> list[str]:
    """The whole names of the namespaces in a namespace, sorted; by default those at the top. Empty if there is no such namespace."""
    try:
        return sorted(".".join(parts) for parts in catalog.list_namespaces(parent or ()))
    except NoSuchNamespaceError:
        return []
    except UNREACHABLE as error:
        raise to_store_error(error, f"listing {parent or 'namespaces'}") from error


def has_namespace(catalog: Catalog, namespace: str) -> bool:
    """Whether there is a namespace of exactly this name: some catalogs also find others, in upper case say."""
    return namespace in list_namespaces(catalog, namespace.rpartition(".")[0])


def namespace_properties(catalog: Catalog, namespace: str) -> Mapping[str, str]:
    """The properties of a namespace; none if it does not exist."""
    try:
        return catalog.load_namespace_properties(namespace)
    except NoSuchNamespaceError:
        return {}
    except UNREACHABLE as error:
        raise to_store_error(error, f"loading {namespace}") from error


def find_metadata(catalog: Catalog, identifier: str) -> str | None:
    """The address of the metadata of a table of exactly this name; None if there is none. Of an SQL catalog it takes one query."""
    if not isinstance(catalog, SqlCatalog):
        # A catalog server may ignore the case of names, by which policies and grants know tables.
        namespace, _, name = identifier.rpartition(".")
        if not has_namespace(catalog, namespace) or name not in tables.list_tables(catalog, namespace):
            return None
    return tables.pointer(catalog, identifier)


def read_metadata(catalog: Catalog, identifier: str, address: str, permit: Permit) -> dict[str, Any]:
    """The metadata of a table at an address from `find_metadata`, as JSON values. They lead to all its rows, so they need a permit.

    Raises: Forbidden if the permit is not for this table; TooLarge; NotReady if the file cannot be read, or was deleted meanwhile.
    """
    check_permit(permit, identifier)
    if isinstance(catalog, SqlCatalog):
        content = _read(catalog, identifier, address)
    else:
        # Only the server of the catalog may give access to its files.
        table = tables.load(catalog, identifier)
        content = table.iceberg.metadata.model_dump_json(exclude_none=True).encode()
    try:
        metadata: dict[str, Any] = orjson.loads(content)
    except ValueError as error:
        raise NotReady(f"the metadata of {identifier} are damaged; restore its metadata file from a backup") from error
    return metadata


def _read(catalog: Catalog, identifier: str, address: str) -> bytes:
    with translating_errors(f"reading the metadata of {identifier}"):
        file = load_file_io(catalog.properties, address).new_input(address)
        size = len(file)
        _check_size(identifier, size)
        with file.open() as stream:
            content = stream.read(size)
        return _decompress(identifier, content) if address.endswith(_COMPRESSED) else content


def _decompress(identifier: str, content: bytes) -> bytes:
    unpacked = zlib.decompressobj(_GZIP)
    try:
        plain = unpacked.decompress(content, MOST_BYTES + 1)
    except zlib.error as error:
        raise NotReady(f"the metadata of {identifier} are damaged; restore its metadata file from a backup") from error
    _check_size(identifier, len(plain))
    return plain


def _check_size(identifier: str, size: int) -> None:
    if size > MOST_BYTES:
        raise TooLarge(
            f"the metadata of {identifier} are larger than {format_size(MOST_BYTES)}; expire snapshots with featurestore maintain",
            limit=MOST_BYTES,
        )
