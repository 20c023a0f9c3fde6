"""Models for a server: loaded once for each version, fed by the server's own lookup."""

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
    """One stamped model in memory, over a store; `predict` may be called from several threads.

    Raises: NotFound; RequestError for a model without a stamp; Conflict for a store of other tables.
    """

    def __init__(self, model_uri: str, store: FeatureStore, name: str | None = None, version: str | None = None) -> None:
        tracking.use(store.settings)
        folder = tempfile.mkdtemp(prefix="featurestore-artifacts-")
        weakref.finalize(self, shutil.rmtree, folder, True)
        with asking("model", model_uri):
            found = mlflow.artifacts.download_artifacts(local_path(model_uri), dst_path=folder)
        self._native = Native(Path(found), allow_pickle=store.settings.allow_pickle)
        self._store = store
        self.name = name or model_uri
        self.version = version
        locate_store.check_store(store, self.stamp)

    @property
    def stamp(self) -> Stamp:
        """What the model says about its training set."""
        return self._native.stamp

    def predict(self, records: Sequence[Mapping[str, Any]]) -> Prediction:
        """Predictions for records of keys and request fields; features in a record override the looked-up ones.

        Raises: RequestError and TypeMismatch naming the record and field.
        """
        self._check(records)
        if not records:
            return Prediction([], self.name, self.version, {})
        answer, found = predict.online(self._native, self._store, records)
        return Prediction(to_predictions(answer), self.name, self.version, dict(found.snapshots))

    def _check(self, records: Sequence[Mapping[str, Any]]) -> None:
        known = self.stamp.plan.column_names
        for row, record in enumerate(records):
            if not isinstance(record, Mapping):
                raise RequestError(f"records[{row}] is {type(record).__name__}, but must be an object: each field with its value")
            if not known.issuperset(record):
                name = next(name for name in record if name not in known)
                raise RequestError(
                    f"records[{row}]: '{name}' is no key, request field or feature of model {self.name}{near(str(name), known)}",
                    field=f"records[{row}].{name}",
                )


class LoadedModels:
    """The models a server has in memory, at most `limit`, the one unused for longest going first.

    What an alias and the newest version stand for is asked again after `seconds`: so long may a server answer with the one before.
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
        """Load the versions that the aliases of these registered models stand for, so that no request waits for them.

        What cannot be loaded is logged: the request for it says why. `stopped` is asked before each version.
        """
        tracking.use(self._store.settings)
        for name in names:
            try:
                for alias in sorted(model_versions.aliases(name))[: self._limit]:
                    if stopped():
                        return
                    self.get(name, alias=alias)
            except FeatureStoreError as error:
                logger.warning("model %s is not loaded ahead of its first request: %s", name, error)

    def get(self, name: str, version: int | str | None = None, alias: str | None = None) -> LoadedModel:
        """The model at a version, at what an alias stands for, or at its newest version; loaded when first asked for.

        Raises: NotFound with the nearest names, versions or aliases; as LoadedModel.
        """
        held = self._held(name, str(version)) if version is not None and alias is None else None
        if held is not None:
            return held
        meant = self._resolve(name, None if version is None else str(version), alias)
        held = self._held(name, meant)
        return self._loaded(name, meant) if held is None else held

    def _held(self, name: str, version: str) -> LoadedModel | None:
        with self._lock:
            held = self._models.get((name, version))
            if held is not None:
                self._models.move_to_end((name, version))
            return held

    def _loaded(self, name: str, version: str) -> LoadedModel:
        """Load a version, once for all who wait for it: nobody waits for another one's."""
        with self._lock:
            loading = self._loading.setdefault((name, version), threading.Lock())
        with loading:
            held = self._held(name, version)
            if held is not None:
                return held
            try:
                held = LoadedModel(f"models:/{name}/{version}", self._store, name, version)
                with self._lock:
                    self._models[name, version] = held
                    while len(self._models) > self._limit:
                        self._models.popitem(last=False)
                return held
            finally:
                with self._lock:
                    self._loading.pop((name, version), None)

    def _resolve(self, name: str, version: str | None, alias: str | None) -> str:
        asked = (name, version, alias)
        now = self._clock()
        held = self._versions.get(asked)
        if held is not None and now - held[0] < self._seconds:
            return held[1]
        tracking.use(self._store.settings)
        try:
            meant = model_versions.resolve_version(name, version, alias)
        except NotReady:
            if held is None:
                raise
            # A model in memory needs no MLflow.
            logger.warning("MLflow does not answer; model %s stays at version %s", name, held[1])
            meant = held[1]
        self._versions[asked] = (now, meant)
        return meant
