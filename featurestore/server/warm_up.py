"""Load what a server process will serve before it says that it is ready: the plans of services, and models with an alias."""

import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.server.metrics import SHARED_FOLDER
from featurestore.store import FeatureStore

logger = logger_of(__name__)

SECONDS = 60.0
"""When a process is ready although something is not loaded yet, which its first request then waits for: MLflow may not respond for long."""
ASK_SECONDS = 5.0
"""How long a probe waits for the end, so that a server that is started and probed at once is not called cold for milliseconds."""
STOP_SECONDS = 5.0
MARK = "warm-"


class WarmUp:
    """A thread of a server process. Several processes share a folder, in which each leaves a mark: one that is cold may get a request.

    `load_models` loads all models with an alias, and stops early when the function that it is called with returns True. With `own_process`,
    what is in memory at the end is never searched for garbage again: for libraries and models that takes a tenth of a second, in which no
    request is answered.
    """

    def __init__(self, store: FeatureStore, load_models: Callable[[Callable[[], bool]], None], *, own_process: bool = False) -> None:
        self._store, self._load_models, self._own_process = store, load_models, own_process
        self._stopped, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="warm-up", daemon=True)
        self._began = time.monotonic()
        shared = os.environ.get(SHARED_FOLDER)
        self._folder = Path(shared) if shared is not None and store.settings.workers > 1 else None

    def start(self) -> None:
        """Begin to load."""
        self._began = time.monotonic()
        self._thread.start()

    def stop(self) -> None:
        """Load nothing more. Waits up to STOP_SECONDS for what is being loaded."""
        self._stopped.set()
        self._thread.join(STOP_SECONDS)
        if self._own_process:
            # Some libraries complain of objects that are still there when the process ends.
            gc.unfreeze()

    def is_over(self) -> bool:
        """Whether this process and all others that were started with it have loaded what they can, or took SECONDS. Waits for a moment."""
        deadline = self._began + SECONDS
        if time.monotonic() >= deadline:
            return True
        return self._done.wait(min(ASK_SECONDS, deadline - time.monotonic())) and self._others_are_warm()

    def _others_are_warm(self) -> bool:
        # The marks of processes that were replaced stay: the server was ready once, and each of the others serves.
        return self._folder is None or len(list(self._folder.glob(f"{MARK}*"))) >= self._store.settings.workers

    def _run(self) -> None:
        try:
            self._load_services()
            self._load_models(self._stopped.is_set)
            if self._own_process:
                gc.collect()
                gc.freeze()
            if self._folder is not None and not self._stopped.is_set():
                (self._folder / f"{MARK}{os.getpid()}").touch()
        finally:
            self._done.set()

    def _load_services(self) -> None:
        try:
            names = [service.name for service in self._store.services()]
        except FeatureStoreError as error:
            logger.warning("services are not loaded ahead of their first requests: %s", error)
            return
        for name in names:
            if self._stopped.is_set():
                return
            try:
                self._store.backend.services.current(name)
            except FeatureStoreError as error:
                logger.warning("service %s is not loaded ahead of its first request: %s", name, error)
