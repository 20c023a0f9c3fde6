"""The tables that users name: with the catalog's name in front or without it, and of no other catalog."""

from featurestore.compiler.catalog_prefix import without_catalog
from featurestore.errors import NotFound, RequestError, brief
from featurestore.lakehouse import metadata_files
from featurestore.records.runtime import Runtime
from featurestore.values.table_names import CATALOG, local_name


def local_table(runtime: Runtime, name: str, field: str) -> str:
    """The name of a table within the catalog of the store. Raises: RequestError naming the field if it is in another catalog."""
    local = local_name(name, runtime.settings.catalog_name)
    check_namespace(runtime, local.rpartition(".")[0], field)
    return local


def check_namespace(runtime: Runtime, namespace: str, field: str) -> None:
    """Check that a namespace of several parts exists: otherwise the first of them is the name of another catalog, which this store does
    not read. Raises: RequestError naming the field.
    """
    first, _, rest = namespace.partition(".")
    # A path has no namespace, and an empty part is no name: whoever loads the table says so.
    if rest and "/" not in namespace and all(part.strip() for part in namespace.split(".")) and not _exists(runtime, namespace):
        catalog = runtime.settings.catalog_name
        raise RequestError(
            f"{field}: there is no namespace {brief(namespace)}, and {brief(first)} is not the catalog of this store, which is called"
            f" {catalog}: write {rest}.NAME, or {catalog}.{rest}.NAME",
            field=field,
        )


def check_query(runtime: Runtime, sql: str, field: str) -> None:
    """Check that a query, without the catalog's name, has not the default one either where the catalog is called something else: in queries
    that early releases stored, that one means this catalog. Raises: RequestError naming the field.
    """
    catalog = runtime.settings.catalog_name
    if catalog.casefold() != CATALOG and without_catalog(sql, CATALOG) != sql:
        raise RequestError(
            f"{field}: {CATALOG} is not the catalog of this store, which is called {catalog}: write {catalog}.NAMESPACE.NAME", field=field
        )


def _exists(runtime: Runtime, namespace: str) -> bool:
    try:
        return metadata_files.has_namespace(runtime.catalog, namespace)
    except NotFound:
        return False
