"""Where the models of a store are: in the MLflow that is named, or else in the one that its first model was logged to."""

import json
import os
from pathlib import Path

from featurestore import private
from featurestore.errors import NotReady
from featurestore.masking import logger_of
from featurestore.redaction import without_secrets
from featurestore.settings import Settings

log = logger_of(__name__)

DATABASE = "featurestore-mlflow.db"
"""MLflow's database in the home folder, for stores that name no other."""
NOTE = "mlflow.json"
"""The file in the home folder that says where the first model was logged, if not there."""
VARIABLE = "MLFLOW_TRACKING_URI"
BY_STORES: set[str] = set()
"""What stores have set in this process, which MLflow keeps in the variable: nobody's choice for another store."""
SQLITE = "sqlite:///"


def known(settings: Settings) -> str | None:
    """The tracking server or database of a store, a password in it; None for one without models. Raises: as `kept`."""
    chosen = os.environ.get(VARIABLE)
    return settings.mlflow_address() or (chosen if chosen not in BY_STORES else None) or kept(settings)


def kept(settings: Settings) -> str | None:
    """The tracking server or database that the models of a store were logged to, where nothing names one; None before the first.

    Raises: NotReady when its file is gone.
    """
    note = _note(settings)
    try:
        uri = str(json.loads(note.read_text())["tracking_uri"])
    except FileNotFoundError:
        return database(settings) if (settings.home_path() / DATABASE).exists() else None
    except (ValueError, KeyError, TypeError) as error:
        raise NotReady(f"{note} does not say where the models of this store are; {_SAY}") from error
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        raise NotReady(f"the models of this store were logged to {uri}, which is gone; bring it back, or {_SAY}")
    return uri


def keep(settings: Settings, uri: str) -> None:
    """Note where the first model of a store is logged, so that other processes find it. What holds a password is not noted."""
    if uri == database(settings):
        return
    if without_secrets(uri) != uri:
        log.warning("only this process knows that models of this store are at %s; %s", without_secrets(uri), _SAY)
        return
    private.make_folder(settings.home_path())
    note = _note(settings)
    written = note.with_name(f"{NOTE}.{os.getpid()}")
    private.make_file(written)
    written.write_text(json.dumps({"tracking_uri": uri}))
    written.replace(note)


def database(settings: Settings) -> str:
    """The address of MLflow's database in the home folder."""
    return f"{SQLITE}{settings.home_path() / DATABASE}"


def absolute(uri: str) -> str:
    """An address that means the same in any working directory."""
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).absolute()}"
    return uri if ":" in uri else Path(uri).absolute().as_uri()


_SAY = "say where they are with the setting mlflow_tracking_uri"


def _note(settings: Settings) -> Path:
    return settings.home_path() / NOTE
