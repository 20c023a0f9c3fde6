"""The prediction log of a server process: finished predictions are handed over, spooled before they are answered, and flushed later."""

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import msgspec

from featurestore import private
from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.models.prediction_log import entry as entries
from featurestore.models.prediction_log.entry import Entry
from featurestore.models.prediction_log.flush import flush, keep_named_snapshots
from featurestore.models.prediction_log.spool import FILE, FOLDER, Backlog, Spool
from featurestore.models.predictions import inference
from featurestore.settings import Settings
from featurestore.store import FeatureStore
from featurestore.values import times

if TYPE_CHECKING:
    from featurestore.models.predictions.features import FeatureRows
    from featurestore.models.serving.loaded_model import Finished, LoadedModel

logger = logger_of(__name__)

LOOK_SECONDS = 1.0
"""How often the thread looks whether snapshots are to be kept, or predictions to be flushed."""
LONGEST_PAUSE = 60.0
"""The longest pause in seconds between attempts, while the catalog does not respond."""
FLUSH_REQUESTS = 20_000
"""Requests that are flushed before prediction_log_seconds are over."""
CLOSE_SECONDS = 5.0
"""How long a server that ends waits for its last flush. What is in a file is flushed by the next server."""
PINS = 1024
"""Sets of snapshots whose numbers a process remembers."""
LOCK = "flush.lock"


SPOOLED, DROPPED, LOGGED = "spooled", "dropped", "logged"
"""What happens to rows that are sampled, for the metrics."""


class PredictionLog:
    """The log of one server process. `record` may be called from several threads; it raises nothing.

    With the setting `prediction_spool` "file" or "fsync", the processes of a home folder share a file, which one of them flushes.
    """

    def __init__(self, store: FeatureStore, count: Callable[[str, int], None] = lambda outcome, rows: None) -> None:
        """`count` is called with what happened to how many rows."""
        self._store, self._settings, self._count = store, store.settings, count
        self._fraction = store.settings.logged_fraction()
        self._lock = threading.Lock()
        self._spool: Spool | None = None
        self._reader: Spool | None = None
        # A model that is replaced is released, although it was logged.
        self._layouts: WeakKeyDictionary[LoadedModel, int] = WeakKeyDictionary()
        self._pins: dict[tuple[tuple[str, int | None], ...], int] = {}
        self._tables: dict[str, str] = {}
        self._stopping, self._failing = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="prediction log", daemon=True)

    @property
    def enabled(self) -> bool:
        """Whether any predictions are logged."""
        return self._fraction > 0

    @property
    def waits_for_disk(self) -> bool:
        """Whether `record` waits until a prediction is on the disk."""
        return self.enabled and self._settings.prediction_spool == "fsync"

    def is_sampled(self, request_id: str) -> bool:
        """Whether the predictions of a request are logged: by its id, so that all processes agree."""
        if self._fraction in (0.0, 1.0):
            return self._fraction == 1.0
        return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8]) < self._fraction * 2**64

    def record(
        self,
        finished: "Finished",
        request_id: str,
        *,
        arm: str | None = None,
        shadow: bool = False,
        rows: Sequence[int] | None = None,
        predicted_at: int | None = None,
        wait: bool = True,
    ) -> bool:
        """Log a prediction, if its request is sampled; with a spool in a file it is there when this returns.

        `arm` is the alias that was chosen, `shadow` whether the prediction is not answered. `rows` are the numbers of its rows in the
        request; None: all of them, in order. `predicted_at`, in microseconds, is the same for all parts of a request that are answered,
        which are known by it; None: now. What does not fit is counted, and not logged.

        Without `wait`, False if that may take long, since the spool is opened, in use, or new to the model: nothing was logged or counted.
        """
        count = len(finished.prediction.predictions)
        if not count or not self.is_sampled(request_id):
            return True
        documents = self._known_documents(finished)
        if not wait and documents is None:
            return False
        try:
            spool = self._spool or self._open()
            layout, pins = self._add_documents(spool, finished) if documents is None else documents
            now = time.time_ns() // 1000 if predicted_at is None else predicted_at
            body = entries.encode(_entry(finished, layout, pins, request_id, arm, shadow, rows, now))
            if not spool.put(self._table_of(finished.model.name), now, count, body, wait=wait):
                return False
        except (sqlite3.Error, FeatureStoreError, OSError, OverflowError, TypeError, ValueError) as error:
            self._count(DROPPED, count)
            self._warn("predictions are not logged: %s", error)
        else:
            self._count(SPOOLED, count)
        return True

    def backlog(self) -> list[Backlog]:
        """What waits to be flushed, by model; nothing if nothing was ever spooled."""
        spool = self._spool
        return [] if spool is None else spool.backlog()

    def start(self) -> None:
        """Begin to flush, if predictions are logged, or an earlier server has left some."""
        if self.enabled or (self._settings.prediction_spool != "memory" and spool_path(self._settings).exists()):
            self._thread.start()

    def stop(self) -> None:
        """Flush, and end. Waits for CLOSE_SECONDS."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_SECONDS)

    def _known_documents(self, finished: "Finished") -> tuple[int, int] | None:
        """The numbers of the layout and of the snapshots that an entry of this prediction names; None if the spool may not have them."""
        layout, pins = self._layouts.get(finished.model), self._pins.get(tuple(finished.rows.snapshots.items()))
        return None if layout is None or pins is None else (layout, pins)

    def _add_documents(self, spool: Spool, finished: "Finished") -> tuple[int, int]:
        """As `_known_documents`; the spool then has them."""
        snapshots = finished.rows.snapshots
        if len(self._pins) >= PINS:
            self._pins.clear()
        pins = self._pins[tuple(snapshots.items())] = spool.pins(inference.snapshots_text(snapshots))
        layout = self._layouts[finished.model] = spool.layout(msgspec.json.encode(finished.model.logged).decode())
        return layout, pins

    def _table_of(self, model: str) -> str:
        table = self._tables.get(model)
        if table is None:
            table = self._tables[model] = inference.inference_table(self._store.backend.runtime, model)
        return table

    def _open(self) -> Spool:
        with self._lock:
            if self._spool is None:
                self._spool = open_spool(self._settings)
            return self._spool

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._stopping.wait(pause):
            pause = LOOK_SECONDS if self._look() else min(2 * pause, LONGEST_PAUSE)
        self._look(last=True)
        if self._reader is not None and self._reader is not self._spool:
            self._reader.close()

    def _open_to_flush(self) -> Spool:
        """The spool as the thread reads it: a file by a connection of its own, so that requests do not wait for it."""
        if self._reader is None:
            self._reader = self._open() if self._settings.prediction_spool == "memory" else open_spool(self._settings)
        return self._reader

    def _look(self, last: bool = False) -> bool:
        """Keep snapshots, and flush if it is time. Returns whether that worked."""
        try:
            spool = self._open_to_flush()
            with flushing(self._settings) as alone:
                if alone:
                    keep_named_snapshots(self._store.backend.runtime, spool)
                    if self._is_due(spool, last):
                        self._count(LOGGED, flush(self._store.backend.runtime, spool))
        except (FeatureStoreError, sqlite3.Error, OSError) as error:
            self._warn("predictions wait to be logged: %s", error)
            return False
        self._failing = False
        return True

    def _is_due(self, spool: Spool, last: bool) -> bool:
        waiting = spool.age()
        if waiting is None:
            return False
        oldest, requests = waiting
        return last or requests >= FLUSH_REQUESTS or times.now() - oldest >= self._settings.prediction_log_seconds * 1e6

    def _warn(self, text: str, error: Exception) -> None:
        """Log an error once for as long as it lasts."""
        if not self._failing:
            logger.error(text, error)
        self._failing = True


def spool_path(settings: Settings) -> Path:
    """The file of predictions that wait, of the servers with this home folder."""
    return settings.home_path() / FOLDER / FILE


def open_spool(settings: Settings) -> Spool:
    """The spool of a server process, or a new one in memory. Raises: NotReady."""
    path = None if settings.prediction_spool == "memory" else spool_path(settings)
    return Spool(path, settings.spool_bytes(), sync=settings.prediction_spool == "fsync")


@contextmanager
def flushing(settings: Settings) -> Iterator[bool]:
    """Hold the right to flush the file of a home folder, for the block; yields False if another process has it.

    The right only saves work: a request that two processes flush is logged once.
    """
    if settings.prediction_spool == "memory":
        yield True
        return
    with private.hold(settings.home_path() / FOLDER / LOCK) as alone:
        yield alone


def flush_file(store: FeatureStore) -> int:
    """Flush what the servers with this home folder have spooled to a file, so that all their predictions are in the tables.

    Returns the number of rows. Raises: NotReady.
    """
    path = spool_path(store.settings)
    if not path.exists():
        return 0
    spool = Spool(path, store.settings.spool_bytes())
    try:
        return flush(store.backend.runtime, spool)
    finally:
        spool.close()


def _entry(
    finished: "Finished",
    layout: int,
    pins: int,
    request_id: str,
    arm: str | None,
    shadow: bool,
    rows: Sequence[int] | None,
    now: int,
) -> Entry:
    features, predictions = finished.rows, finished.prediction.predictions
    return Entry(
        layout=layout,
        pins=pins,
        request_id=request_id,
        arm=arm,
        shadow=shadow,
        at=now if features.at is None else features.at,
        predicted_at=now,
        edition=features.edition,
        rows=rows,
        overridden=_overridden(features, len(predictions)),
        parameters=json.dumps(dict(finished.params), default=str) if finished.params else None,
        statuses=features.status,
        derived_types=features.derived_types,
        values=[features.columns[name] for name, _ in finished.model.logged.columns],
        predictions=predictions,
        policies=features.policies,
    )


def _overridden(features: "FeatureRows", count: int) -> list[list[str]] | None:
    """The features that the caller sent, for each row; None if there are none."""
    if not features.sent:
        return None
    names = sorted(features.sent)
    return [[name for name in names if features.sent[name][row] is not None] for row in range(count)]
