"""Log a model to MLflow: save the native model with its flavor, then stamp its artifacts, tags and run."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from featurestore.access.owners import owner_of_principal, set_owner
from featurestore.access.privileges import Kind, Securable, parse_grantee
from featurestore.errors import NotReady
from featurestore.masking import logger_of
from featurestore.models.datasets.dataset import training_dataset
from featurestore.models.frames.inputs import choose_inputs
from featurestore.models.frames.missing import Missing, check_policy, policy_and_defaults
from featurestore.models.mlflow_access import location, tracking
from featurestore.models.mlflow_access.mlflow_client import UNAVAILABLE, mlflow, place
from featurestore.models.mlflow_access.time_limits import TRANSFER_SECONDS, limit_time
from featurestore.models.stamping.run_artifacts import log_training_set
from featurestore.models.stamps import bundle, locate_store, store_access
from featurestore.models.stamps.flavor import METHOD_OPTION, Flavor, check_method, find_flavor, reads_by_name, takes_method
from featurestore.models.stamps.signature import example_of_keys, serving_signature
from featurestore.models.stamps.stamp import Stamp
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.records import model_events
from featurestore.store import FeatureStore

logger = logger_of(__name__)

FIRST = "1"
"""The first version of a registered model, also of one that has the name of a model that was deleted."""
# Arguments of `Model.log`; all others are passed to the flavor's save_model.
_LOG_OPTIONS = ("params", "tags", "step", "model_type", "await_registration_for", "resources", "auth_policy", "prompts")


def log_model(
    model: Any,
    *,
    training_set: TrainingSet,
    name: str | None = None,
    registered_model_name: str | None = None,
    flavor: ModuleType | None = None,
    metrics: Mapping[str, float] | None = None,
    input_example: Any = None,
    missing: Missing = "nan",
    inputs: Sequence[str] | None = None,
    pyfunc_predict_fn: str = "predict",
    owner: str | None = None,
    store: FeatureStore | None = None,
    **kwargs: Any,
) -> Any:
    """Log a model to MLflow with the stamp of its training set, in the active run or a new one.

    `flavor` is a module of MLflow's, by default that of the model's class. `inputs` are the names of the model's columns, if the model
    does not have them. `input_example` has keys and request fields; its columns that the service does not have are left
    out. `missing` says what the model gets where there is no feature: NULL ("nan"), the defaults in a dict by feature, or "error": keys
    without features are refused.
    `pyfunc_predict_fn` is the model's method to call, such as "predict_proba". `owner`, such as "USER ann" or "GROUP risk", owns the
    registered model if it is new; by default the principal that built the training set, and nobody if there was none. `store` is by
    default the training set's. Other arguments are passed to the flavor's save_model. Returns MLflow's ModelInfo.
    Raises: RequestError if the model reads a column that cannot be looked up, does not name its columns, or lacks the method; Conflict if
    the store is not the training set's; NotReady within seconds if MLflow does not respond.
    """
    check_policy(missing)
    owned_by = owner_of_principal(training_set.manifest.get("principal")) if owner is None else parse_grantee(owner, "owner")
    with store_access.store_of(training_set, store) as used_store:
        signature = kwargs.pop("signature", None)
        chosen = find_flavor(model, flavor)
        check_method(model, chosen, pyfunc_predict_fn)
        method = None
        if takes_method(chosen):
            kwargs[METHOD_OPTION] = pyfunc_predict_fn
        elif pyfunc_predict_fn != "predict":
            method = pyfunc_predict_fn
        stamp = make_stamp(
            model, training_set, signature, used_store, inputs=inputs, missing=missing, predict_fn=method, by_name=reads_by_name(chosen)
        )
        example = None if input_example is None else example_of_keys(input_example, stamp.plan)
        locate_store.check_store(used_store, stamp)
        with _explain_unavailable_mlflow(training_set), limit_time(TRANSFER_SECONDS):
            tracking.use_tracking_to_log(used_store.settings)
            stamped = _Stamped(chosen, model, stamp, training_set.manifest, signature, example)
            going_on = mlflow.active_run()
            with _run(name or training_set.name) as run_id:
                info = _log(stamped, name or training_set.name, registered_model_name, kwargs)
                measured = {**_metrics_of(going_on), **(metrics or {})}
                _record(used_store, info, run_id, stamp, name or training_set.name, registered_model_name, measured)
                if registered_model_name and str(info.registered_model_version) == FIRST and owned_by is not None:
                    set_owner(store_access.runtime_of(used_store), [Securable(Kind.MODEL, registered_model_name)], owned_by)
                record_input(run_id, training_set, stamp, info.model_id)
                log_training_set(run_id, training_set)
                if metrics:
                    mlflow.log_metrics(dict(metrics), model_id=info.model_id)
    return info


def make_stamp(
    native: Any,
    training_set: TrainingSet,
    signature: Any,
    store: FeatureStore,
    *,
    inputs: Sequence[str] | None,
    missing: Missing,
    by_name: bool,
    predict_fn: str | None = None,
) -> Stamp:
    """Make the stamp of a model. Raises: RequestError if the model reads a column that cannot be looked up."""
    manifest, plan = training_set.manifest, training_set.plan
    columns, named = choose_inputs(native, signature, manifest, plan, inputs, by_name=by_name)
    policy, defaults = policy_and_defaults(missing, plan, columns)
    return Stamp(
        training_set=training_set.id,
        digest=training_set.digest,
        plan=plan,
        views=manifest["views"],
        timestamp=training_set.timestamp,
        label=training_set.label,
        known=manifest["known"],
        inputs=tuple(columns),
        named=named,
        missing=policy,
        store=locate_store.describe_store(store.settings),
        predict_fn=predict_fn,
        part=training_set.part,
        exact_decimals=True,
        defaults=defaults,
    )


def record_input(run_id: str, training_set: TrainingSet, stamp: Stamp, model_id: str) -> None:
    """Log the training set as a dataset input of the run, and the model as trained on it."""
    dataset = training_dataset(training_set.manifest, training_set.part, stamp.store)._to_mlflow_entity()
    tags = [mlflow.entities.InputTag("mlflow.data.context", training_set.part or "training")]
    mlflow.MlflowClient().log_inputs(
        run_id, datasets=[mlflow.entities.DatasetInput(dataset, tags)], models=[mlflow.entities.LoggedModelInput(model_id)]
    )


def tag_version(name: str, version: str, stamp: Stamp) -> None:
    """Set the tags of the stamp on a registered version."""
    client = mlflow.MlflowClient()
    current = client.get_model_version(name, version).tags
    for key, value in stamp.tags().items():
        if current.get(key) != value:
            client.set_model_version_tag(name, version, key, value)


class _Stamped:
    """A flavor for MLflow that saves the native model with its own flavor, and then stamps the artifacts."""

    def __init__(self, native: Flavor, model: Any, stamp: Stamp, manifest: Mapping[str, Any], signature: Any, example: Any) -> None:
        self.__name__ = native.module.__name__
        self._native = native
        self._model = model
        self._stamp = stamp
        self._manifest = manifest
        self._signature = signature
        self._example = example

    def save_model(self, path: str, mlflow_model: Any, **options: Any) -> None:
        """Called by MLflow; the input example is saved with the serving signature, to which it conforms."""
        arguments = {name: value for name, value in options.items() if name != "validate_serving_input"}
        if self._example is not None:
            arguments |= {"input_example": self._example, "signature": serving_signature(self._stamp.plan, self._signature)}
        self._native.save(self._model, {**arguments, "path": path, "mlflow_model": mlflow_model})
        bundle.wrap(Path(path), mlflow_model, self._stamp, self._manifest, self._signature)


def _log(stamped: _Stamped, name: str, registered_model_name: str | None, options: Mapping[str, Any]) -> Any:
    log_options = {key: value for key, value in options.items() if key in _LOG_OPTIONS}
    save_options = {key: value for key, value in options.items() if key not in _LOG_OPTIONS}
    stamp = stamped._stamp
    return mlflow.models.Model.log(
        artifact_path=None,
        name=name,
        flavor=stamped,
        registered_model_name=registered_model_name,
        metadata={**(save_options.pop("metadata", None) or {}), **stamp.metadata()},
        **{**log_options, "tags": {**(log_options.get("tags") or {}), **stamp.tags()}},
        # Otherwise MLflow loads the model and scores the example.
        **{"validate_serving_input": False, **save_options},
    )


def _metrics_of(run: Any) -> dict[str, float]:
    """The metrics of a run so far; None for a run that was just made, which has none."""
    return {} if run is None else dict(mlflow.MlflowClient().get_run(run.info.run_id).data.metrics)


def _record(
    store: FeatureStore, info: Any, run_id: str, stamp: Stamp, name: str, registered: str | None, metrics: Mapping[str, float]
) -> None:
    """Record the events of a logged, and perhaps registered, model, with `metrics`, those of its run so far.

    If this process ends before, the next look at MLflow records them.
    """
    events = [model_events.Event("logged", name, None, info.model_id, run_id, stamp.training_set, stamp.snapshots, metrics)]
    if registered:
        events.append(events[0].of("registered", registered, str(info.registered_model_version)))
    model_events.record_events(store.catalog, store.settings, events)
    here, before = location.public_address(mlflow.get_tracking_uri()), model_events.logged_to(store.catalog, store.settings)
    if before is not None and before != here:
        logger.warning("the model before was logged to %s, and this one to %s; servers and commands look in one MLflow", before, here)
    model_events.record_mlflow(store.catalog, store.settings, here)
    if registered:
        # Early releases of MLflow 3 do not copy tags to the version.
        tag_version(registered, str(info.registered_model_version), stamp)


@contextmanager
def _explain_unavailable_mlflow(training_set: TrainingSet) -> Iterator[None]:
    """A context in which an MLflow that does not respond is an error that says what is lost and what is not. Raises: NotReady."""
    try:
        yield
    except (NotReady, mlflow.exceptions.MlflowException) as error:
        if not isinstance(error, NotReady) and error.error_code not in UNAVAILABLE:
            raise
        raise NotReady(
            f"{place()} did not respond, so the model was not logged, or not completely. The training set {training_set.id} stays as it is:"
            " when MLflow responds again, call log_model again with it (store.get_training_set(id)), or stamp the model that MLflow then"
            f" has with models.attach(model_uri, training_set=...). {error}",
            training_set=training_set.id,
        ) from error


@contextmanager
def _run(name: str) -> Iterator[str]:
    """The id of the active run, or of a new run for the duration of the context."""
    active = mlflow.active_run()
    if active is not None:
        yield active.info.run_id
        return
    with mlflow.start_run(run_name=name) as run:
        yield run.info.run_id
