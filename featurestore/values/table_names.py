"""Names of tables: `namespace.name`, or with the name of the catalog in front, `featurestore.namespace.name`, which means the same."""

import re

CATALOG = "featurestore"
"""What the catalog of a store is called, unless the setting `catalog_name` says otherwise."""
KEPT_NAMESPACE = "kept"
"""The namespace of the tables in which the store keeps the rows of sources."""
_VERSION = re.compile(r"_v\d+$", re.IGNORECASE)
"""The end of the name of a feature table, after that of its view."""
_QUOTES = ('"', "`")


def local_name(name: str, catalog: str = CATALOG) -> str:
    """The name of a table within the catalog: without quotes, and without the catalog's own name in front of a namespace and a name.

    The catalog's name is the same in any case. A name that begins with another one is returned as it is: it may be in a namespace of
    namespaces.
    """
    plain = unquoted(name)
    first, _, rest = plain.partition(".")
    return rest if "." in rest and first.casefold() == catalog.casefold() else plain


def unquoted(name: str) -> str:
    """The name without the quotes around its parts: `"shop"."orders"` is `shop.orders`."""
    if not any(quote in name for quote in _QUOTES):
        return name
    return ".".join(part[1:-1] if len(part) > 2 and part[0] == part[-1] and part[0] in _QUOTES else part for part in name.split("."))


def folded(name: str) -> str:
    """The form in which names are compared by rules that must not be evaded: some catalogs find a table by its name in any case."""
    return name.casefold()


def view_of_table(table: str) -> str:
    """The name of the view that a feature table, such as `features.customer_orders_v1`, is a version of."""
    return _VERSION.sub("", table.rpartition(".")[2])


def is_in(table: str, *namespaces: str) -> bool:
    """Whether a table, named with its namespace, is in one of the namespaces, spelled in any case."""
    return folded(table.rpartition(".")[0]) in map(folded, namespaces)
