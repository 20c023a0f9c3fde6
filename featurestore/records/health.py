"""Check that the catalog, the warehouse and the online store respond, with a small request to each."""

from collections.abc import Callable

from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables, warehouse
from featurestore.records import definitions
from featurestore.records.runtime import Runtime

NEEDS = {
    "lookups": ("online store", "catalog", "warehouse"),
    "training sets": ("catalog", "warehouse"),
    "materializations": ("catalog", "warehouse", "online store"),
}
"""The components that each verb needs. Lookups need the last two only for services that a process has not served yet."""

WARM = "what was loaded before"
"""The state of a verb that works only with what the process has in memory."""


def check_components(runtime: Runtime, write: bool = False) -> dict[str, FeatureStoreError | None]:
    """The error of each component, None if it works. With `write`, an object is written to the warehouse and removed."""
    errors = {"catalog": error_of(lambda: tables.exists(runtime.catalog, definitions.registry_table(runtime)))}
    errors["warehouse"] = error_of(lambda: warehouse.check_warehouse(runtime.catalog, definitions.registry_table(runtime), write=write))
    errors["online store"] = error_of(lambda: runtime.online.check())  # noqa: PLW0108 - opening it may fail too
    return errors


def served_verbs(down: set[str]) -> dict[str, str]:
    """The state of each verb while these components are down: `ok`, `down` or WARM."""
    states = {verb: "down" if down.intersection(needed) else "ok" for verb, needed in NEEDS.items()}
    if states["lookups"] == "down" and "online store" not in down:
        states["lookups"] = WARM
    states["predictions"] = states["lookups"] if states["lookups"] != "ok" or "models" not in down else WARM
    return states


def error_of(check: Callable[[], object]) -> FeatureStoreError | None:
    """The error of a check, None if it passes."""
    try:
        check()
    except FeatureStoreError as error:
        return error
    return None
