"""Whether MLflow answers, asked without importing it, which takes a second."""

from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from featurestore.errors import NotReady
from featurestore.masking import scrub
from featurestore.models import location
from featurestore.redaction import without_secrets
from featurestore.settings import Settings

DATABASE_SECONDS = 5.0


def is_installed() -> bool:
    """Whether MLflow is there to be imported."""
    return find_spec("mlflow") is not None


def check_tracking(settings: Settings) -> str:
    """Where MLflow is, if it answers. Raises: NotReady."""
    uri = location.known(settings)
    if uri is None:
        return f"{location.database(settings)} with the first model, or where that is logged"
    shown = without_secrets(uri)
    try:
        if uri.startswith(("http://", "https://")):
            # Here and not above: `doctor` asks, and most of its stores have no server to ask.
            import requests  # noqa: PLC0415

            answer = requests.get(f"{uri.rstrip('/')}/health", timeout=DATABASE_SECONDS)
            if answer.status_code >= 500:
                raise NotReady(f"MLflow at {shown} answers with status {answer.status_code}; look at its log")
        elif "://" in uri and not uri.startswith(("file:", "databricks")):
            _ask_database(uri)
    except (SQLAlchemyError, OSError, ImportError) as error:
        reason = scrub(str(getattr(error, "orig", None) or error).splitlines()[0][:300])
        raise NotReady(
            f"MLflow at {shown} cannot be reached; start it, or correct the setting mlflow_tracking_uri", reason=reason
        ) from error
    return shown


def _ask_database(uri: str) -> None:
    url = make_url(uri)
    if url.get_backend_name() == "sqlite":
        # Made by its first use, where there is a folder for it.
        path = Path(url.database or "")
        if not path.exists():
            if not path.absolute().parent.is_dir():
                raise FileNotFoundError(f"there is no folder {path.absolute().parent}")
            return
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()
