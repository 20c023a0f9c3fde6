"""Look at MLflow when it says that a model has changed: in a thread, one look at a time."""

import threading
import time
from collections.abc import Collection

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.models.mlflow_access import location
from featurestore.records.runtime import Runtime

logger = logger_of(__name__)

STOP_SECONDS = 5.0
"""How long a server that stops waits for a look, which MLflow may delay."""


class RegistryChanges:
    """A thread that looks after each notice. All notices that come during a look lead to one more."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._noticed, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="changes of models", daemon=True)

    def start(self) -> None:
        """Begin to take notices."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look that runs, or without it if it takes long."""
        self._stopping.set()
        self._noticed.set()
        self._thread.join(STOP_SECONDS)

    def notice(self, name: str) -> None:
        """Look soon: the registered model with this name has changed."""
        with self._lock:
            self._names.add(name)
            self._noticed.set()

    def _run(self) -> None:
        while True:
            self._noticed.wait()
            with self._lock:
                self._noticed.clear()
                names, self._names = self._names, set()
            # Looked at after the clearing, which would otherwise undo that `stop` wakes this thread.
            if self._stopping.is_set():
                return
            began = time.monotonic()
            self._look(names)
            # Looks take at most half of the time, although some program may change models without a pause.
            self._stopping.wait(time.monotonic() - began)

    def _look(self, names: Collection[str]) -> None:
        try:
            if location.tracking_uri(self._runtime.settings) is None:
                logger.warning("MLflow says that models have changed, but this store has no MLflow; set mlflow_tracking_uri to its address")
                return
            self._runtime.look_at_models(names)
        except FeatureStoreError as error:
            logger.warning("what changed in MLflow is recorded at the next look: %s", error)
        except Exception:
            logger.exception("what changed in MLflow is recorded at the next look")
