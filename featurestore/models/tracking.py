"""Which MLflow is meant: the settings' one, else the one that MLflow was told to use, else one in the store's home.

In this order:

1. `mlflow_tracking_uri` of the settings.
2. Where a run is active, or was made before in this process: the MLflow that has it.
3. MLflow's own choice, if someone made one (`mlflow.set_tracking_uri`, MLFLOW_TRACKING_URI).
4. Where the store's first model was logged.
5. SQLite and a folder of artifacts in the store's home. What another store set this way in the same process does not count
   as a choice, unless nobody says which store is meant.
"""

from featurestore import private
from featurestore.errors import Conflict
from featurestore.models import location
from featurestore.models.mlflow_client import mlflow
from featurestore.redaction import without_secrets
from featurestore.settings import Settings, load_settings

ARTIFACTS = "mlflow-artifacts"


def use(given: Settings | None) -> None:
    """Point MLflow at the server or database that a store's settings mean; it stays so for the process.

    None: no store was named, so the configured settings hold. Raises: Conflict if a run is active on another one.
    """
    settings = given if given is not None else load_settings()
    active = mlflow.active_run() is not None
    current = mlflow.get_tracking_uri()
    wanted = settings.mlflow_address()
    if wanted is not None:
        if active and current != wanted:
            raise Conflict(
                f"a run is active on MLflow at {without_secrets(current)}, but the settings say"
                f" {settings.mlflow_tracking_uri}; end the run first"
            )
    elif active or _chosen(current, by_store=given is None):
        return
    else:
        wanted = location.kept(settings) or _own(settings)
    if wanted != current:
        location.BY_STORES.add(wanted)
        mlflow.set_tracking_uri(wanted)


def use_to_log(settings: Settings) -> None:
    """The same before a model is logged, which other processes must find: where nothing names the MLflow, the first one is noted.

    Raises: Conflict also for a run on MLflow's default, when the models of the store are elsewhere.
    """
    use(settings)
    if settings.mlflow_address() is not None:
        return
    here, kept = location.absolute(mlflow.get_tracking_uri()), location.kept(settings)
    if kept is None or (kept != here and _is_empty(kept)):
        location.keep(settings, here)
    elif kept != here and not mlflow.is_tracking_uri_set():
        raise Conflict(
            f"a run was begun on MLflow's default, {without_secrets(here)}, but the models of this store are at {kept}, where others look"
            f" for them: call mlflow.set_tracking_uri({kept!r}) before the run, or set mlflow_tracking_uri"
        )


def _is_empty(uri: str) -> bool:
    """Whether no run was ever made there: a server that looked for models has made the database."""
    client = mlflow.MlflowClient(uri)
    return not client.search_runs([one.experiment_id for one in client.search_experiments()], max_results=1)


def _chosen(current: str, *, by_store: bool) -> bool:
    """Whether someone told MLflow where to go; `by_store` counts a store that did."""
    if mlflow.is_tracking_uri_set():
        return by_store or current not in location.BY_STORES
    try:
        return mlflow.last_active_run() is not None
    except mlflow.exceptions.MlflowException:
        # It was made elsewhere, before someone took the choice back.
        return False


def _own(settings: Settings) -> str:
    """The database in the store's home, made with an artifact folder beside it: MLflow's default is the working directory."""
    home, uri = settings.home_path(), location.database(settings)
    if not (home / location.DATABASE).exists():
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415 - brings SQLAlchemy and Alembic

        private.make_folder(home)
        private.make_file(home / location.DATABASE)
        private.make_folder(home / ARTIFACTS)
        SqlAlchemyStore(uri, (home / ARTIFACTS).as_uri())  # type: ignore[no-untyped-call]
    return uri
