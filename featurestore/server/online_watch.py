"""Watch the online store of a server, and have one job fill what it has lost."""

import threading

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.server.jobs.job import FILLING
from featurestore.server.jobs.jobs import Jobs
from featurestore.store import FeatureStore

log = logger_of(__name__)

SECONDS = 1.0
"""How often a server process looks."""


class OnlineWatch:
    """A thread of a server process that finds lost tables, so that its lookups refuse them, and queues the job that fills them.

    All processes of all servers watch. The job has one id, so that a server runs it once at a time, and in the store one process at a
    time has the right to fill.
    """

    def __init__(self, store: FeatureStore, jobs: Jobs) -> None:
        self._store, self._jobs = store, jobs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="online watch", daemon=True)
        self._failing = False

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._stopping.set()
        self._thread.join()

    def look(self) -> None:
        """Find lost tables, and queue the job if there are any. Raises: NotReady."""
        lost_tables = self._store.backend.lost_tables
        if lost_tables.find() and self._store.settings.online_fill and lost_tables.progress() is None:
            self._jobs.start(FILLING, FILLING, {})

    def _watch(self) -> None:
        while not self._stopping.wait(SECONDS):
            try:
                self.look()
                self._failing = False
            except FeatureStoreError as error:
                # Said once, and by /readyz for as long as it lasts.
                if not self._failing:
                    log.warning("the online store cannot be watched: %s", error)
                self._failing = True
