"""What a server follows as long as it runs: a registry of keys with what it reads beside them, and which of the keys were used."""

from collections.abc import Callable

from featurestore.access.key_uses import KeyUses
from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.server.watcher import Watcher

logger = logger_of(__name__)

LOOK_SECONDS = 0.4
"""How often a process looks for keys, grants, policies and shares that were changed: all servers follow within a second."""
USES_SECONDS = 60.0
"""How often a process records which keys were used."""


class FollowedKeys:
    """Calls `refresh` all the time, and records `uses` once in a while. `what` names the registries in logs."""

    def __init__(self, what: str, uses: KeyUses, refresh: Callable[[], None]) -> None:
        self.started = False
        self._what, self._uses, self._refresh = what, uses, refresh
        self._look = Watcher(f"registry of {what}", LOOK_SECONDS, refresh)
        self._record = Watcher(f"use of {what}", USES_SECONDS, uses.record)

    def start(self) -> None:
        """Read the registries, and begin to follow them. What cannot be read now is read when the catalog responds."""
        try:
            self._refresh()
        except FeatureStoreError as error:
            logger.warning("%s cannot be read, so that none is accepted yet: %s", self._what, error)
        self.started = True
        self._look.start()
        self._record.start()

    def stop(self) -> None:
        """Follow them no more, and record the last uses."""
        if not self.started:
            return
        self._look.stop()
        self._record.stop()
        try:
            self._uses.record()
        except FeatureStoreError as error:
            logger.warning("the last uses of %s were not recorded: %s", self._what, error)
