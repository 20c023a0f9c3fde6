"""Notice within a second that an alias has moved: one process of a home folder asks MLflow, and all read what it was told."""

import fcntl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec

from featurestore import private
from featurestore.errors import FeatureStoreError
from featurestore.lakehouse import tables
from featurestore.masking import logger_of
from featurestore.models.mlflow_access import location
from featurestore.models.mlflow_access.mlflow_client import mlflow, translate_mlflow_errors
from featurestore.models.mlflow_access.time_limits import limit_time
from featurestore.models.registry.mlflow_registry import pages
from featurestore.models.serving.loaded_models import LoadedModels
from featurestore.records import model_events
from featurestore.store import FeatureStore

logger = logger_of(__name__)

ASK_SECONDS = 0.8
"""How often MLflow is asked. With the time until others have read the answer, a change is noticed within a second."""
SHARE = 10
"""The pause after a read of MLflow is at least this many times as long as the read, so that a slow registry is not read all the time."""
TICK_SECONDS = 0.1
"""How often a process looks at the file of the answers, and the one that asks at the table of promotions."""
FOLDER, FILE, LOCK = "models", "aliases.json", "aliases.lock"


class Shared(msgspec.Struct, frozen=True):
    """What MLflow says of all registered models: for each, when it was changed, and the versions of its aliases."""

    models: dict[str, tuple[int, dict[str, str]]]


class AliasWatch:
    """A thread of a server process, from the first request for a model on."""

    def __init__(self, store: FeatureStore, models: LoadedModels) -> None:
        self._store, self._models = store, models
        self._folder = store.settings.home_path() / FOLDER
        self._stopping, self._hurried, self._failing = threading.Event(), threading.Event(), False
        self._lock_file: IO[bytes] | None = None
        self._next, self._earliest, self._pointer = 0.0, 0.0, ""
        self._written: bytes | None = None
        self._read_at = 0
        self._shared: Mapping[str, tuple[int, dict[str, str]]] = {}
        self._thread = threading.Thread(target=self._watch, name="alias watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def hurry(self) -> None:
        """Ask MLflow now: it says that a model has changed. If another process asks, the event that is recorded makes that one ask."""
        self._hurried.set()

    def stop(self) -> None:
        """End soon, without waiting for MLflow."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            try:
                if self._models.first_request.is_set() and self._asks() and self._is_time():
                    self._ask()
                    self._failing = False
                self._read()
            except (FeatureStoreError, OSError, msgspec.MsgspecError) as error:
                if not self._failing:
                    logger.warning("aliases that are moved are not noticed: %s", error)
                self._failing = True
        if self._lock_file is not None:
            self._lock_file.close()

    def _asks(self) -> bool:
        """Whether this is the process that asks; another one becomes it when that ends."""
        if self._lock_file is None:
            private.make_folder(self._folder)
            private.make_file(self._folder / LOCK)
            file = (self._folder / LOCK).open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._lock_file = file
            # What an earlier server was told.
            (self._folder / FILE).unlink(missing_ok=True)
        return True

    def _is_time(self) -> bool:
        """Whether some time has passed since the last look, MLflow says that it is time, or somebody has recorded a promotion."""
        now = time.monotonic()
        if now >= self._next or (self._hurried.is_set() and now >= self._earliest):
            return True
        runtime = self._store.backend.runtime
        pointer = tables.pointer(runtime.catalog, model_events.model_events_table(runtime.settings)) or ""
        moved, self._pointer = pointer != self._pointer, pointer
        return moved

    def _ask(self) -> None:
        began = time.monotonic()
        self._next = began + ASK_SECONDS
        self._hurried.clear()
        uri = location.tracking_uri(self._store.settings)
        if uri is None:
            return
        with limit_time(), translate_mlflow_errors("model", "registry", uri):
            registered = {
                model.name: (int(model.last_updated_timestamp or 0), {alias: str(version) for alias, version in model.aliases.items()})
                for model in pages(mlflow.MlflowClient(uri).search_registered_models)
            }
        ended = time.monotonic()
        # However often MLflow says so, it is asked at most half of the time.
        self._earliest = ended + (ended - began)
        self._next = max(self._next, ended + SHARE * (ended - began))
        content = msgspec.json.encode(Shared(registered), order="sorted")
        if content != self._written or not (self._folder / FILE).exists():
            _write(self._folder / FILE, content)
            self._written = content

    def _read(self) -> None:
        """Hand over what is new in the file."""
        try:
            changed = (self._folder / FILE).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed != self._read_at:
            self._shared, self._read_at = _decode((self._folder / FILE).read_bytes()), changed
        for name in self._models.names():
            known = self._shared.get(name)
            self._models.refresh(name, known, None if known is None else known[1])


def _decode(content: bytes) -> Mapping[str, tuple[int, dict[str, str]]]:
    return msgspec.json.decode(content, type=Shared).models


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once, for its readers."""
    temporary = path.with_name(f"{path.name}.part")
    temporary.unlink(missing_ok=True)
    private.write(temporary, content)
    temporary.replace(path)
