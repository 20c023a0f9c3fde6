"""Check that MLflow responds, without importing it, which takes a second."""

from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from featurestore.errors import NotReady
from featurestore.masking import scrub
from featurestore.models.mlflow_access import location
from featurestore.redaction import without_secrets
from featurestore.settings import Settings

TIMEOUT_SECONDS = 5.0
CONNECT_LIMITS = {"postgresql": {"connect_timeout": int(TIMEOUT_SECONDS)}, "mysql": {"connect_timeout": int(TIMEOUT_SECONDS)}}
"""The arguments of database drivers that limit how long they wait for a connection."""


def is_installed() -> bool:
    """Whether the package mlflow is installed."""
    return find_spec("mlflow") is not None


def check_tracking(settings: Settings) -> str:
    """The address of MLflow's tracking server, if it responds. Raises: NotReady."""
    uri = location.tracking_uri(settings)
    if uri is None:
        return f"{location.default_uri(settings)} (created when the first model is logged, unless that is logged elsewhere)"
    return check_address(uri)


def check_address(uri: str) -> str:
    """The address of an MLflow without secrets, if it responds. Raises: NotReady."""
    shown = without_secrets(uri)
    try:
        if uri.startswith(("http://", "https://")):
            # Imported here: most stores have no tracking server.
            import requests  # noqa: PLC0415

            response = requests.get(f"{uri.rstrip('/')}/health", timeout=TIMEOUT_SECONDS)
            if response.status_code >= 500:
                raise NotReady(f"MLflow at {shown} responded with status {response.status_code}; see its log")
        elif "://" in uri and not uri.startswith(("file:", "databricks")):
            _query_database(uri)
    except (SQLAlchemyError, OSError, ImportError) as error:
        reason = scrub(str(getattr(error, "orig", None) or error).splitlines()[0][:300])
        raise NotReady(
            f"MLflow at {shown} cannot be reached; start it, or correct the setting mlflow_tracking_uri", reason=reason
        ) from error
    return shown


def _query_database(uri: str) -> None:
    url = make_url(uri)
    if url.get_backend_name() == "sqlite":
        # The first use creates the file if its folder exists.
        path = Path(url.database or "")
        if not path.exists():
            if not path.absolute().parent.is_dir():
                raise FileNotFoundError(f"the folder {path.absolute().parent} does not exist")
            return
    engine = create_engine(url, connect_args=CONNECT_LIMITS.get(url.get_backend_name(), {}))
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()
