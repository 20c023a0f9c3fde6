"""Names of tables: `namespace.name`, or with the name of the catalog in front, `featurestore.namespace.name`, which means the same."""

CATALOG = "featurestore"
"""What the catalog of a store is called."""


def local_name(name: str) -> str:
    """The name of a table within the catalog: without the catalog's own name, if it begins with that and has three parts or more."""
    return name.removeprefix(f"{CATALOG}.") if name.count(".") > 1 else name
