"""Where a model's features are: the store it was trained with, found again by settings or by the stamp's hint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurestore.errors import Conflict, NotFound, NotReady
from featurestore.lakehouse import tables
from featurestore.models.stamp import Stamp
from featurestore.redaction import public_properties, without_secrets
from featurestore.settings import Settings, load_settings
from featurestore.store import FeatureStore

PLACES = (
    "home",
    "catalog",
    "warehouse",
    "online",
    "features_namespace",
    "training_sets_namespace",
    "registry_namespace",
    "inference_namespace",
)
"""The settings that say which store is meant."""


def describe(settings: Settings) -> dict[str, Any]:
    """The places of a store without any secret; `complete` tells whether there was none."""
    catalog = settings.catalog_properties()
    shown = public_properties(catalog)
    online = without_secrets(settings.online_url())
    namespaces = {name: getattr(settings, name) for name in PLACES if name.endswith("_namespace")}
    complete = shown == catalog and online == settings.online_url()
    return {"home": str(settings.home_path()), "catalog": shown, "online": online, **namespaces, "complete": complete}


def find_store(stamp: Stamp, store: FeatureStore | None = None, places: Mapping[str, Any] | None = None) -> FeatureStore:
    """The store given, else the one at `places`, else the configured one, else the one that the stamp hints at.

    Configured is what `featurestore.toml` or FEATURESTORE_* say about a place. Raises: Conflict if its feature tables are
    not the ones the model was trained on; NotReady if it cannot be reached.
    """
    found = store if store is not None else FeatureStore(settings=_settings(stamp, places or {}))
    check_store(found, stamp)
    return found


def check_store(store: FeatureStore, stamp: Stamp) -> None:
    """Raises: Conflict if a feature table of the stamp is missing in the store, or is another table of that name."""
    for name, view in stamp.views.items():
        identifier = f"{store.settings.features_namespace}.{name}"
        where = (
            f"the store at {store.settings.home_path()} is not the one of training set {stamp.training_set}, which the model was trained on"
        )
        try:
            found = str(tables.load(store.catalog, identifier).metadata.table_uuid)
        except NotFound as error:
            raise Conflict(f"{where}: it has no table {identifier}; {_SAY}", table=identifier) from error
        if found != view["uuid"]:
            raise Conflict(f"{where}: its {identifier} has the uuid {found}, the stamp says {view['uuid']}; {_SAY}", table=identifier)


_SAY = "say where the right one is by settings (FEATURESTORE_HOME, FEATURESTORE_CATALOG), by store=, or by load_model's model_config"


def _settings(stamp: Stamp, places: Mapping[str, Any]) -> Settings:
    given = {name: value for name, value in places.items() if value is not None}
    if given:
        return load_settings(**given)
    configured = load_settings()
    if configured.model_fields_set & set(PLACES):
        return configured
    hint = {name: stamp.store[name] for name in PLACES if name in stamp.store}
    if not stamp.store["complete"]:
        raise NotReady(f"the model was trained with the store at {hint['catalog']}, which needs credentials; {_SAY}")
    scheme, _, database = str(hint["catalog"].get("uri", "")).partition(":///")
    if scheme == "sqlite" and not Path(database).exists():
        raise NotReady(f"the model was trained with the store in {hint['home']}, which is not here; {_SAY}")
    return load_settings(**hint)
