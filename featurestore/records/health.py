"""Check that the catalog, the warehouse and the online store respond, with a small request to each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from featurestore.errors import NOT_INSTALLED, FeatureStoreError
from featurestore.lakehouse import tables, warehouse
from featurestore.records import definitions
from featurestore.records.runtime import Runtime
from featurestore.values.result import NamedValues

NEEDS = {
    "lookups": ("online store", "catalog", "warehouse"),
    "training sets": ("catalog", "warehouse"),
    "materializations": ("catalog", "warehouse", "online store"),
}
"""The components that each verb needs. Lookups need the last two only for services that a process has not served yet."""

WITHOUT_LOST = "all but lost tables"
"""The state of a verb that works for services whose tables the online store has not lost."""

CACHED_ONLY = "cached only"
"""The state of a verb that works only for services and models that the process has already loaded."""


@dataclass(frozen=True, eq=False)
class StoreHealth(NamedValues[FeatureStoreError | None]):
    """The error of each component by name ("catalog", "warehouse", "online store"); None for one that works.

    `health["catalog"]` is the error itself, and `to_dict` has its type, message and details.
    """

    @property
    def ok(self) -> bool:
        """Whether all components work."""
        return not any(self.entries.values())

    @property
    def errors(self) -> dict[str, FeatureStoreError]:
        """The errors of the components that do not work."""
        return {name: error for name, error in self.entries.items() if error is not None}

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: of each error its type, message and details."""
        return {name: None if error is None else _describe_error(error) for name, error in self.entries.items()}


@dataclass(frozen=True, eq=False)
class ServerHealth(NamedValues[str]):
    """The state of each component of a server, and of each function that it serves, by name, as /readyz reports them."""

    @property
    def ok(self) -> bool:
        """Whether everything that is installed works."""
        return set(self.entries.values()) <= {"ok", NOT_INSTALLED}


def check_components(runtime: Runtime, write: bool = False) -> dict[str, FeatureStoreError | None]:
    """The error of each component, None if it works. With `write`, an object is written to the warehouse and removed."""
    errors = {"catalog": error_of(lambda: tables.exists(runtime.catalog, definitions.registry_table(runtime)))}
    errors["warehouse"] = error_of(lambda: warehouse.check_warehouse(runtime.catalog, definitions.registry_table(runtime), write=write))
    errors["online store"] = error_of(lambda: runtime.online.check())  # noqa: PLW0108 - opening it may fail too
    return errors


def served_verbs(down: set[str], lost_tables: bool = False) -> dict[str, str]:
    """The state of each verb while these components are down: `ok`, `down`, CACHED_ONLY, or with `lost_tables` WITHOUT_LOST.

    An online store that has lost tables is not down: materializations run, and fill it.
    """
    states = {verb: "down" if down.intersection(needed) else "ok" for verb, needed in NEEDS.items()}
    if states["lookups"] == "down" and "online store" not in down:
        states["lookups"] = CACHED_ONLY
    if lost_tables and states["lookups"] == "ok":
        states["lookups"] = WITHOUT_LOST
    states["predictions"] = states["lookups"] if states["lookups"] != "ok" or "models" not in down else CACHED_ONLY
    return states


def _describe_error(error: FeatureStoreError) -> dict[str, Any]:
    return {"type": type(error).__name__, "message": error.message, "details": error.details}


def error_of(check: Callable[[], object]) -> FeatureStoreError | None:
    """The error of a check, None if it passes."""
    try:
        check()
    except FeatureStoreError as error:
        return error
    return None
