"""Whether the parts that lie outside the process answer, each asked for something small."""

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
"""What each verb cannot do without. Lookups need the last two for services that a process has not served yet."""

WARM = "what was loaded before"
"""How a verb is that goes on with what a process has in memory."""


def check_components(runtime: Runtime, write: bool = False) -> dict[str, FeatureStoreError | None]:
    """By part, the error it answers with; None where it answers as it should. With `write` an object is put into the warehouse."""
    found = {"catalog": _error_of(lambda: tables.exists(runtime.catalog, definitions.registry_table(runtime)))}
    found["warehouse"] = _error_of(lambda: warehouse.check_warehouse(runtime.catalog, definitions.registry_table(runtime), write=write))
    found["online store"] = _error_of(lambda: runtime.online.check())  # noqa: PLW0108 - opening it may fail too
    return found


def served_verbs(down: set[str]) -> dict[str, str]:
    """By verb, `ok`, `down`, or `WARM` when these parts are down."""
    found = {verb: "down" if down.intersection(needed) else "ok" for verb, needed in NEEDS.items()}
    if found["lookups"] == "down" and "online store" not in down:
        found["lookups"] = WARM
    found["predictions"] = found["lookups"] if found["lookups"] != "ok" or "models" not in down else WARM
    return found


def _error_of(question: Callable[[], object]) -> FeatureStoreError | None:
    try:
        question()
    except FeatureStoreError as error:
        return error
    return None
