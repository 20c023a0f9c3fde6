"""Models in a server: each version is loaded once, and gets its features from the server's store."""

import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from featurestore.errors import FeatureStoreError, NotReady, RequestError, near
from featurestore.masking import logger_of
from featurestore.models import locate_store, model_versions, predict, tracking
from featurestore.models.bundle import Native
from featurestore.models.mlflow_client import asking, local_path, mlflow
from featurestore.models.stamp import Stamp
from featurestore.models.values import to_predictions
from featurestore.pipelines.prediction import Prediction
from featurestore.store import FeatureStore

logger = logger_of(__name__)


class LoadedModel:
    """A stamped model in memory with a store; `predict` may be called from several threads.

    Raises: NotFound; RequestError for a model without a stamp; Conflict if the store has other tables.
    """

    def __init__(self, model_uri: str, store: FeatureStore, name: str | None = None, version: str | None = None) -> None:
        tracking.use_tracking(store.settings)
        folder = tempfile.mkdtemp(prefix="featurestore-artifacts-")
        weakref.finalize(self, shutil.rmtree, folder, True)
        with asking("model", model_uri):
            downloaded = mlflow.artifacts.download_artifacts(local_path(model_uri), dst_path=folder)
        self._native = Native(Path(downloaded), allow_pickle=store.settings.allow_pickle)
        self._store = store
        self.name = name or model_uri
        self.version = version
        locate_store.check_store(store, self.stamp)

    @property
    def stamp(self) -> Stamp:
        """The model's stamp."""
        return self._native.stamp

    def predict(self, records: Sequence[Mapping[str, Any]]) -> Prediction:
        """Predict for records of keys and request fields; features in a record override looked-up features.

        Raises: RequestError and TypeMismatch naming the record and field.
        """
        self._check(records)
        if not records:
            return Prediction([], self.name, self.version, {})
        predictions, looked_up = predict.predict_online(self._native, self._store, records)
        return Prediction(to_predictions(predictions), self.name, self.version, dict(looked_up.snapshots))

    def _check(self, records: Sequence[Mapping[str, Any]]) -> None:
        known = self.stamp.plan.column_names
        for row, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise RequestError(f"records[{row}] is {type(record).__name__}, but must be an object: each field with its value")
            if not known.issuperset(record):
                name = next(name for name in record if name not in known)
                raise RequestError(
                    f"records[{row}]: '{name}' is not a key, request field or feature of model {self.name}{near(str(name), known)}",
                    field=f"records[{row}].{name}",
                )


class LoadedModels:
    """A cache of at most `limit` models, from which the least recently used is evicted.

    The versions of aliases, and the newest versions, are resolved again after `seconds`; until then a server may use an earlier one.
    """

    def __init__(self, store: FeatureStore, limit: int = 8, seconds: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._versions: dict[tuple[str, str | None, str | None], tuple[float, str]] = {}
        self._models: OrderedDict[tuple[str, str], LoadedModel] = OrderedDict()
        self._loading: dict[tuple[str, str], threading.Lock] = {}

    def load_aliased(self, names: Collection[str], stopped: Callable[[], bool]) -> None:
        """Load the versions with aliases of these registered models ahead of the first requests.

        Errors are logged; requests report them again. `stopped` is called before each version; True ends the loading.
        """
        tracking.use_tracking(self._store.settings)
        for name in names:
            try:
                for alias in sorted(model_versions.versions_by_alias(name))[: self._limit]:
                    if stopped():
                        return
                    self.get(name, alias=alias)
            except FeatureStoreError as error:
                logger.warning("model %s is not loaded ahead of its first request: %s", name, error)

    def get(self, name: str, version: int | str | None = None, alias: str | None = None) -> LoadedModel:
        """The model with a version number or alias, or its newest version; loaded on the first request.

        Raises: NotFound with the nearest names, versions or aliases; as LoadedModel.
        """
        cached = self._cached(name, str(version)) if version is not None and alias is None else None
        if cached is not None:
            return cached
        resolved = self._resolve(name, None if version is None else str(version), alias)
        cached = self._cached(name, resolved)
        return self._load(name, resolved) if cached is None else cached

    def _cached(self, name: str, version: str) -> LoadedModel | None:
        with self._lock:
            cached = self._models.get((name, version))
            if cached is not None:
                self._models.move_to_end((name, version))
            return cached

    def _load(self, name: str, version: str) -> LoadedModel:
        """Load a version once, while concurrent requests for it wait; requests for other versions do not wait."""
        with self._lock:
            loading = self._loading.setdefault((name, version), threading.Lock())
        with loading:
            cached = self._cached(name, version)
            if cached is not None:
                return cached
            try:
                cached = LoadedModel(f"models:/{name}/{version}", self._store, name, version)
                with self._lock:
                    self._models[name, version] = cached
                    while len(self._models) > self._limit:
                        self._models.popitem(last=False)
                return cached
            finally:
                with self._lock:
                    self._loading.pop((name, version), None)

    def _resolve(self, name: str, version: str | None, alias: str | None) -> str:
        request = (name, version, alias)
        now = self._clock()
        cached = self._versions.get(request)
        if cached is not None and now - cached[0] < self._seconds:
            return cached[1]
        tracking.use_tracking(self._store.settings)
        try:
            resolved = model_versions.resolve_version(name, version, alias)
        except NotReady:
            if cached is None:
                raise
            # A cached model does not need MLflow.
            logger.warning("MLflow does not respond; model %s stays at version %s", name, cached[1])
            resolved = cached[1]
        self._versions[request] = (now, resolved)
        return resolved
