"""Open the Iceberg catalog, which is the only system of record, from settings."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pyiceberg.catalog import Catalog as Catalog
from pyiceberg.catalog import load_catalog
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from featurestore import private
from featurestore.errors import MissingExtra, NotReady
from featurestore.lakehouse import local_io
from featurestore.lakehouse.catalog_errors import to_store_error, with_translated_errors
from featurestore.lakehouse.old_metadata import delete_quietly
from featurestore.masking import logger_of
from featurestore.redaction import without_secrets
from featurestore.settings import CATALOG_NAME, Settings

logger = logger_of(__name__)

REST_CATALOG = "featurestore.lakehouse.rest.BoundedRestCatalog"
POSTGRES_CATALOG = "featurestore.lakehouse.postgres.BoundedSqlCatalog"
POSTGRES_TIMEOUTS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "60000",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""libpq's limits for connecting (seconds), for unacknowledged data (milliseconds), and for noticing a lost server (keepalives)."""


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog of these settings; a local one is created with its folders. pyiceberg knows it by the property `name`, or else by
    the same name in all stores, which is part of each key in a database; the setting `catalog_name` is for users only.

    Raises: NotReady saying what to check; MissingExtra naming the database's driver that is not installed.
    """
    properties = settings.catalog_properties()
    uri = properties.get("uri", "")
    local = properties.get("type", "sql") == "sql" and not uri.startswith("http")
    if local:
        properties["warehouse"] = _local_as_path(properties["warehouse"])
    shown = without_secrets(properties.get("warehouse", "of the server"))
    where = without_secrets(uri) or "(no uri)"
    try:
        if local and "://" not in properties["warehouse"]:
            private.make_folder(Path(properties["warehouse"]))
            if Path(properties["warehouse"]).is_relative_to(settings.home_path()):
                properties.setdefault("py-io-impl", local_io.PRIVATE)
        if uri.startswith("sqlite"):
            properties["uri"] = uri = _prepare_sqlite(uri)
        elif properties.get("type") == "sql":
            # pyiceberg does not say which driver is missing.
            make_url(uri).get_dialect().import_dbapi()
            # A pooled connection outlives a restart of its server.
            properties.setdefault("pool_pre_ping", "true")
        properties.setdefault("py-io-impl", local_io.LOCAL_FIRST)
        return _load(_with_timeouts(properties))
    except ModuleNotFoundError as error:
        package = error.name or "psycopg2"
        # The extra installs psycopg2; any other driver that a URI names is a separate package.
        raise MissingExtra(package, "postgres" if package == "psycopg2" else None, f"the catalog {where}") from error
    except Exception as error:
        failure = to_store_error(error, "opening it")
        raise NotReady(
            f"the Iceberg catalog {where} (warehouse {shown}) cannot be opened: {failure.details['reason']}; "
            f"{failure.message}; check the settings catalog, warehouse and home, and that its server runs and accepts this user",
            uri=where,
            warehouse=shown,
        ) from error


def _load(properties: dict[str, str]) -> Catalog:
    # Tables of a database that other programs made may be under another name.
    name, rest = properties.get("name", CATALOG_NAME), {key: value for key, value in properties.items() if key != "name"}
    try:
        return delete_quietly(with_translated_errors(load_catalog(name, **rest)))
    except SQLAlchemyError as error:
        # Two processes that open a new catalog at the same time race to create its tables; the second attempt finds them.
        logger.debug("opening the catalog again after: %s", error)
        return delete_quietly(with_translated_errors(load_catalog(name, **rest)))


def _with_timeouts(properties: dict[str, str]) -> dict[str, str]:
    """Add timeouts, so that no catalog request waits forever; values in the settings take precedence."""
    uri = properties.get("uri", "")
    if "py-catalog-impl" not in properties and properties.get("type", "rest" if uri.startswith("http") else "") == "rest":
        # pyiceberg warns of a credential without the address of its tokens, and then uses this one.
        tokens = {"oauth2-server-uri": f"{uri.rstrip('/')}/v1/oauth/tokens"} if "credential" in properties else {}
        return {**tokens, **{name: value for name, value in properties.items() if name != "type"}, "py-catalog-impl": REST_CATALOG}
    if uri.startswith("postgresql") and (url := make_url(uri)).get_driver_name() in ("psycopg2", "psycopg"):
        added = {name: seconds for name, seconds in POSTGRES_TIMEOUTS.items() if name not in url.query}
        bounded = {**properties, "uri": url.update_query_dict(added).render_as_string(hide_password=False)}
        if "py-catalog-impl" not in properties:
            bounded = {**{name: value for name, value in bounded.items() if name != "type"}, "py-catalog-impl": POSTGRES_CATALOG}
        return bounded
    return properties


def _local_as_path(warehouse: str) -> str:
    # pyiceberg does not decode the path of a file:// URI, and cuts it at '#' and '?': only a plain path is safe.
    if warehouse.startswith("file:"):
        parts = urlsplit(warehouse.replace("#", "%23").replace("?", "%3F"))
        return unquote(parts.path)
    return warehouse


def _prepare_sqlite(uri: str) -> str:
    url = make_url(uri)
    if url.database and url.database != ":memory:":
        private.make_folder(Path(url.database).parent)
        private.make_file(Path(url.database))
    # Writers of one SQLite file wait for each other; the driver's default of five seconds is too short for that.
    return uri if "timeout" in url.query else f"{uri}{'&' if url.query else '?'}timeout=60"
