"""Whether the parts that lie outside the process answer, each asked for something small."""

from collections.abc import Callable

from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.pipelines import registry
from featurestore.pipelines.parts import Parts


def check(parts: Parts) -> dict[str, FeatureStoreError | None]:
    """By part, the error it answers with; None where it answers as it should."""
    return {"catalog": _error_of(_ask_catalog, parts), "online store": _error_of(_ask_online, parts)}


def _ask_catalog(parts: Parts) -> None:
    tables.exists(parts.catalog, registry.identifier(parts))


def _ask_online(parts: Parts) -> None:
    parts.online.generation()


def _error_of(question: Callable[[Parts], None], parts: Parts) -> FeatureStoreError | None:
    try:
        question(parts)
    except FeatureStoreError as error:
        return error
    return None
