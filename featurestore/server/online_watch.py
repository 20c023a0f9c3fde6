"""Watch the online store of a server, and have one job fill what it has lost."""

from featurestore.server.jobs.job import FILLING
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.watcher import Watcher
from featurestore.store import FeatureStore

SECONDS = 1.0
"""How often a server process looks."""


class OnlineWatch:
    """A thread of a server process that finds lost tables, so that its lookups refuse them, and queues the job that fills them.

    All processes of all servers watch. The job has one id, so that a server runs it once at a time, and in the store one process at a
    time has the right to fill. While it fails, /readyz says so.
    """

    def __init__(self, store: FeatureStore, jobs: Jobs) -> None:
        self._store, self._jobs = store, jobs
        self._watcher = Watcher("online store", SECONDS, self.look)

    def start(self) -> None:
        """Begin to watch."""
        self._watcher.start()

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._watcher.stop()

    def look(self) -> None:
        """Find lost tables, and queue the job if there are any. Raises: NotReady."""
        lost_tables = self._store.backend.lost_tables
        if lost_tables.find() and self._store.settings.online_fill and lost_tables.progress() is None:
            self._jobs.start(FILLING, FILLING, {})
