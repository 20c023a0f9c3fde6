"""What `doctor` asks of places beside the stores: what the catalog can do, databases and addresses of sources, workers."""

from collections.abc import Iterable, Iterator

from featurestore.cli.finding import Finding
from featurestore.dsl.source import is_address
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse.object_store import SCHEMES
from featurestore.records.listings import SourceInfo
from featurestore.redaction import without_secrets
from featurestore.settings import Settings
from featurestore.store import FeatureStore
from featurestore.values.humanize import format_plural

DATABASE_SECONDS = 10
ENGINE_SECONDS = 120
"""Spark takes half a minute to start on a busy machine."""


def check_catalog(store: FeatureStore, settings: Settings) -> Iterator[Finding]:
    """Whether a catalog server does all that the store asks of it."""
    from featurestore.lakehouse.capabilities import is_server, refused_updates  # noqa: PLC0415 - it is needed once

    if not is_server(store.catalog):
        return
    what = "catalog's updates"
    try:
        refused = refused_updates(store.catalog, settings.registry_namespace)
    except FeatureStoreError as error:
        yield Finding(what, "wrong", str(error), "give the store's client the rights to make, change and drop tables there")
        return
    for refusal in refused:
        yield Finding(what, "wrong", str(refusal), "docs/catalogs.md says what works without it")
    if not refused:
        yield Finding(what, "ok", "several in one commit, tags, removal of snapshots and tables")


def check_databases(settings: Settings) -> Iterator[Finding]:
    """Whether each database of the setting answers."""
    from featurestore.databases.address import database_address  # noqa: PLC0415 - few stores have any
    from featurestore.databases.postgres import open_postgres  # noqa: PLC0415

    for name in sorted(settings.databases):
        what = f"database {name}"
        try:
            address = database_address(name, settings.databases, None)
            with open_postgres(address, name, (name,), None, DATABASE_SECONDS) as database:
                database.now()
        except FeatureStoreError as error:
            yield Finding(what, "wrong", str(error), f"correct {name} in the setting databases, or start the database")
        else:
            yield Finding(what, "ok", f"{without_secrets(settings.databases[name].reveal())} answers")


def check_addresses(settings: Settings, sources: Iterable[SourceInfo]) -> Iterator[Finding]:
    """Whether the addresses of applied sources and of the setting `source_locations` can be read, with one request to each."""
    from featurestore.files.object_files import ObjectFiles  # noqa: PLC0415 - few stores have any

    named = {source.path: f"source {source.name}" for source in sources if source.path is not None and is_address(source.path)}
    places = {**dict.fromkeys(settings.source_locations, "setting source_locations"), **named}
    properties = settings.source_properties()
    for place, owner in sorted(places.items()):
        # Web servers are asked by each plan, and databases above.
        if place.partition("://")[0] not in SCHEMES:
            continue
        shown, what = without_secrets(place), f"address of {owner}"
        try:
            exists = ObjectFiles(place, properties).exists()
        except FeatureStoreError as error:
            yield Finding(what, "wrong", str(error), "correct the setting source_access")
        else:
            yield Finding(what, "ok", shown) if exists else Finding(what, "note", f"nothing is at {shown}", "correct the address")


def check_engine(settings: Settings) -> Iterator[Finding]:
    """Whether the workers of the setting `engine` compute, with the versions that this process has."""
    if settings.engine is None:
        return
    from featurestore.distribution.probe import ask_workers, versions  # noqa: PLC0415 - few stores have workers

    address = settings.engine.reveal()
    shown = without_secrets(address)
    try:
        told = ask_workers(address, ENGINE_SECONDS)
    except FeatureStoreError as error:
        yield Finding("engine", "wrong", str(error), "start it, or correct the setting engine")
        return
    other = sorted(str(version) for version in told if version != versions())
    if other:
        seen = f"{shown}: {format_plural(len(other), 'worker')} with {'; '.join(other)}; here are {versions()}"
        yield Finding("engine", "wrong", seen, "install the driver's packages on all workers, in the same versions")
    else:
        yield Finding("engine", "ok", f"workers of {shown} compute with {versions()}")
