"""Copy what is pushed to a server into the tables of the sources."""

import random

from featurestore.dsl.durations import microseconds
from featurestore.pipelines.pushed.copying import EventCopier
from featurestore.server.watcher import Watcher
from featurestore.store import FeatureStore


class EventCopies:
    """A thread of a server process that copies pushed events every `push_copy_every`. One process at a time copies those of a source."""

    def __init__(self, store: FeatureStore) -> None:
        self._enabled = store.settings.push_log_url() is not None
        # Processes that look at different times do not wait for one another.
        seconds = microseconds(store.settings.push_copy_every) / 1e6 * random.uniform(0.8, 1.0)
        self._watcher = Watcher("push log", seconds, EventCopier(store.backend.runtime).copy)

    def start(self) -> None:
        """Begin to copy."""
        if self._enabled:
            self._watcher.start()

    def stop(self) -> None:
        """Return when the thread has ended."""
        if self._enabled:
            self._watcher.stop()
