"""Locate the store of a model's features by settings, or by the address in its stamp."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurestore.errors import Conflict, NotFound, NotReady
from featurestore.lakehouse import tables
from featurestore.models.stamps.stamp import Stamp
from featurestore.redaction import public_properties, without_secrets
from featurestore.settings import Settings, load_settings
from featurestore.store import FeatureStore

LOCATION_SETTINGS = (
    "home",
    "catalog",
    "warehouse",
    "online",
    "features_namespace",
    "training_sets_namespace",
    "registry_namespace",
    "inference_namespace",
)
"""The settings that identify a store."""


def describe_store(settings: Settings) -> dict[str, Any]:
    """The settings that identify a store, without secrets; `complete` says whether none was left out."""
    catalog = settings.catalog_properties()
    shown = public_properties(catalog)
    online = without_secrets(settings.online_url())
    namespaces = {name: getattr(settings, name) for name in LOCATION_SETTINGS if name.endswith("_namespace")}
    complete = shown == catalog and online == settings.online_url()
    return {"home": str(settings.home_path()), "catalog": shown, "online": online, **namespaces, "complete": complete}


def find_store(stamp: Stamp, store: FeatureStore | None = None, places: Mapping[str, Any] | None = None) -> FeatureStore:
    """The store to use: `store`, else the one at `places`, else the configured one, else the one in the stamp.

    A store is configured if `featurestore.toml` or FEATURESTORE_* variables set one of PLACES. Raises: Conflict if its feature tables are
    not those of the training; NotReady if it cannot be reached.
    """
    located = store if store is not None else FeatureStore(settings=store_settings(stamp.store, "the model was trained", places))
    check_store(located, stamp)
    return located


def check_store(store: FeatureStore, stamp: Stamp) -> None:
    """Raises: Conflict if a feature table of the stamp is missing in the store, or is another table of the same name."""
    for name, view in stamp.views.items():
        identifier = f"{store.settings.features_namespace}.{name}"
        where = (
            f"the store at {store.settings.home_path()} is not the one of training set {stamp.training_set}, which the model was trained on"
        )
        try:
            uuid = tables.load(store.catalog, identifier).uuid
        except NotFound as error:
            raise Conflict(f"{where}: it has no table {identifier}; {_HINT}", table=identifier) from error
        if uuid != view["uuid"]:
            raise Conflict(f"{where}: its {identifier} has the uuid {uuid}, but the stamp has {view['uuid']}; {_HINT}", table=identifier)


_HINT = "select the right one by settings (FEATURESTORE_HOME, FEATURESTORE_CATALOG), store=, or load_model's model_config"


def store_settings(described: Mapping[str, Any], what: str, places: Mapping[str, Any] | None = None) -> Settings:
    """The settings of `places`, else the configured ones, else those that `describe_store` described; `what` was done with the store.

    Raises: NotReady if those need credentials, or there is no such store here.
    """
    requested = {name: value for name, value in (places or {}).items() if value is not None}
    if requested:
        return load_settings(**requested)
    configured = load_settings()
    if configured.model_fields_set & set(LOCATION_SETTINGS):
        return configured
    hint = {name: described[name] for name in LOCATION_SETTINGS if name in described}
    if not described["complete"]:
        raise NotReady(f"{what} with the store at {hint['catalog']}, which needs credentials; {_HINT}")
    scheme, _, database = str(hint["catalog"].get("uri", "")).partition(":///")
    if scheme == "sqlite" and not Path(database).exists():
        raise NotReady(f"{what} with the store in {hint['home']}, which does not exist here; {_HINT}")
    return load_settings(**hint)
