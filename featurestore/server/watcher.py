"""A thread of a server process that looks for something again and again."""

import threading
from collections.abc import Callable
from typing import Any

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of

logger = logger_of(__name__)


class Watcher:
    """Calls `look` every `seconds`. An error is logged once, until a look works again; `what` names what cannot be watched then."""

    def __init__(self, what: str, seconds: float, look: Callable[[], Any]) -> None:
        self._what, self._seconds, self._look = what, seconds, look
        self._stopping, self._failing = threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name=f"{what} watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Return when the thread has ended."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._look()
                self._failing = False
            except FeatureStoreError as error:
                if not self._failing:
                    logger.warning("the %s cannot be watched: %s", self._what, error)
                self._failing = True
