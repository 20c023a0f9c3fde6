"""The tracking server of a store's models: the configured one, else the one to which its first model was logged."""

import json
import os
from pathlib import Path

from featurestore import private
from featurestore.errors import NotReady
from featurestore.masking import logger_of
from featurestore.redaction import without_secrets
from featurestore.settings import Settings

logger = logger_of(__name__)

DATABASE = "featurestore-mlflow.db"
"""MLflow's default database, in the home folder."""
NOTE = "mlflow.json"
"""The file in the home folder with the address to which the first model was logged, if it is not the default."""
VARIABLE = "MLFLOW_TRACKING_URI"
BY_STORES: set[str] = set()
"""Addresses that stores have set in this process. MLflow keeps them in the variable, but they are not the user's choice."""
SQLITE = "sqlite:///"


def tracking_uri(settings: Settings) -> str | None:
    """The address of a store's tracking server, including passwords; None for a store without models. Raises: as `recorded_uri`."""
    chosen = os.environ.get(VARIABLE)
    return settings.mlflow_address() or (chosen if chosen not in BY_STORES else None) or recorded_uri(settings)


def recorded_uri(settings: Settings) -> str | None:
    """The address to which the models of a store were logged, if none is configured; None for a store without models.

    Raises: NotReady if the database file is missing.
    """
    note = _note(settings)
    try:
        uri = str(json.loads(note.read_text())["tracking_uri"])
    except FileNotFoundError:
        return default_uri(settings) if (settings.home_path() / DATABASE).exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise NotReady(f"{note} has no valid address of the models of this store; {_HINT}") from error
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        raise NotReady(f"the models of this store were logged to {uri}, which does not exist any more; restore it, or {_HINT}")
    return uri


def record_uri(settings: Settings, uri: str) -> None:
    """Record the address to which a store's first model is logged, for other processes; not if it contains a password."""
    if uri == default_uri(settings):
        return
    if without_secrets(uri) != uri:
        logger.warning(
            "models of this store are logged to %s, which is not recorded because it contains a password; %s", without_secrets(uri), _HINT
        )
        return
    private.make_folder(settings.home_path())
    note = _note(settings)
    temporary = note.with_name(f"{NOTE}.{os.getpid()}")
    private.make_file(temporary)
    temporary.write_text(json.dumps({"tracking_uri": uri}))
    temporary.replace(note)


def default_uri(settings: Settings) -> str:
    """The address of MLflow's database in the home folder."""
    return f"{SQLITE}{settings.home_path() / DATABASE}"


def absolute_uri(uri: str) -> str:
    """The address with an absolute path, so that it does not depend on the working directory."""
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}"
    return uri if ":" in uri else Path(uri).absolute().as_uri()


def public_address(uri: str) -> str:
    """The address with an absolute path and without passwords, to be shown, recorded and compared."""
    return without_secrets(absolute_uri(uri))


def other_address(settings: Settings, recorded: str | None) -> str | None:
    """The address that this machine uses, if the catalog has recorded another one; None if it is the same, or none is recorded."""
    if recorded is None:
        return None
    used = public_address(tracking_uri(settings) or default_uri(settings))
    return None if used == recorded else used


_HINT = "set mlflow_tracking_uri to their address"


def _note(settings: Settings) -> Path:
    return settings.home_path() / NOTE
