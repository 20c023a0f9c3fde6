"""Choose the MLflow tracking server, in this order:

1. The setting `mlflow_tracking_uri`.
2. The server of an active run, or of an earlier run of this process.
3. The address set in MLflow (`mlflow.set_tracking_uri`, MLFLOW_TRACKING_URI), unless another store in this process has set it.
4. The address to which the store's first model was logged.
5. SQLite and a folder of artifacts in the store's home.
"""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from featurestore import private
from featurestore.errors import Conflict
from featurestore.models.mlflow_access import health, location
from featurestore.models.mlflow_access.mlflow_client import mlflow
from featurestore.redaction import without_secrets
from featurestore.settings import Settings, load_settings

ARTIFACTS = "mlflow-artifacts"
_CREATING = Lock()


def use_tracking(store_settings: Settings | None) -> None:
    """Set MLflow's tracking address for the process by a store's settings; None: the configured settings.

    Raises: Conflict if a run is active on another server.
    """
    settings = store_settings if store_settings is not None else load_settings()
    active = mlflow.active_run() is not None
    current = mlflow.get_tracking_uri()
    target = settings.mlflow_address()
    if target is not None:
        if active and current != target:
            raise Conflict(
                f"a run is active on MLflow at {without_secrets(current)}, but the settings say"
                f" {settings.mlflow_tracking_uri}; end the run first"
            )
    elif active or _is_chosen(current, by_store=store_settings is None):
        return
    else:
        target = location.recorded_uri(settings) or _default_uri(settings)
    if target != current:
        location.BY_STORES.add(target)
        mlflow.set_tracking_uri(target)


def use_tracking_to_log(settings: Settings) -> None:
    """As `use_tracking`, before a model is logged; an address that is not configured is recorded for other processes.

    Raises: Conflict also for a run on MLflow's default address, if the models of the store are elsewhere; NotReady within seconds if MLflow
    does not respond.
    """
    use_tracking(settings)
    health.check_address(mlflow.get_tracking_uri())
    if settings.mlflow_address() is not None:
        return
    here, recorded = location.absolute_uri(mlflow.get_tracking_uri()), location.recorded_uri(settings)
    if recorded is None or (recorded != here and _is_empty(recorded)):
        location.record_uri(settings, here)
    elif recorded != here and not mlflow.is_tracking_uri_set():
        raise Conflict(
            f"a run was started at MLflow's default address {without_secrets(here)}, but the models of this store are at {recorded}, where"
            f" other processes look for them: call mlflow.set_tracking_uri({recorded!r}) before the run, or set mlflow_tracking_uri"
        )


def _is_empty(uri: str) -> bool:
    """Whether an address has no runs: a server may have created the database without logging anything."""
    client = mlflow.MlflowClient(uri)
    return not client.search_runs([experiment.experiment_id for experiment in client.search_experiments()], max_results=1)


def _is_chosen(current: str, *, by_store: bool) -> bool:
    """Whether MLflow's address was set; with `by_store` also if a store has set it."""
    if mlflow.is_tracking_uri_set():
        return by_store or current not in location.BY_STORES
    try:
        return mlflow.last_active_run() is not None
    except mlflow.exceptions.MlflowException:
        # The run is on another server, whose address was reset since.
        return False


def _default_uri(settings: Settings) -> str:
    """The address of the database in the store's home, which is created with an artifact folder: MLflow's is the working directory."""
    database = settings.home_path() / location.DATABASE
    # One thread at a time: migrations of a database keep their state in variables of Alembic's modules.
    with _CREATING:
        if not database.exists():
            private.make_folder(database.parent)
            _create_database(database)
    return location.default_uri(settings)


def _create_database(database: Path) -> None:
    """Create MLflow's database whole: another thread or process finds one with all tables, or none."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415 - brings SQLAlchemy and Alembic

    artifacts = database.with_name(ARTIFACTS)
    private.make_folder(artifacts)
    with TemporaryDirectory(dir=database.parent, prefix="mlflow-") as folder:
        made = Path(folder) / database.name
        private.make_file(made)
        store = SqlAlchemyStore(f"{location.SQLITE}{made}", artifacts.as_uri())  # type: ignore[no-untyped-call]
        store.engine.dispose()
        with suppress(FileExistsError):
            # Another process may have created its own meanwhile.
            database.hardlink_to(made)
