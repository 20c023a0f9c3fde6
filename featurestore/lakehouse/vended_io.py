"""Access to a table's files with credentials that its catalog hands out, and renews before they expire."""

import math
import time
from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from featurestore.lakehouse.local_io import LocalFirstIO, pyarrow_io

MARGIN_MS = 300_000
"""How long before their end credentials are renewed, for those who open a file then; earlier if they last less than twice as long."""
SHORTEST_MS = 60_000
"""They are not renewed more often than this, also if the clocks of the catalog and of this machine differ."""
ENDS = ("s3.session-token-expires-at-ms", "gcs.oauth2.token-expires-at", "adls.sas-token-expires-at-ms.")
"""What the names of properties begin with that say when credentials expire, in milliseconds since the epoch."""

Renew = Callable[[], Mapping[str, Any] | None]
"""Returns the properties of a table's FileIO with new credentials; None if the table is gone."""


class VendedIO(LocalFirstIO):
    """FileIO of a table whose credentials expire. May be used from several threads."""

    def __init__(self, properties: Mapping[str, Any], renew: Renew) -> None:
        """`properties` have the credentials and when they expire."""
        self._renew, self._lock = renew, RLock()
        super().__init__(dict(properties))
        self._opened: tuple[dict[str, Any], Any] | None = None

    @property
    def properties(self) -> dict[str, Any]:
        """The properties, with credentials that are good for a while. Raises: NotReady if the catalog cannot be reached."""
        with self._lock:
            if now_ms() >= self._renew_at:
                self.properties = dict(self._renew() or self._current)
            return self._current

    @properties.setter
    def properties(self, properties: dict[str, Any]) -> None:
        self._current, self._renew_at = properties, _renewal_ms(properties)

    @property
    def _elsewhere(self) -> Any:
        with self._lock:
            properties = self.properties
            if self._opened is None or self._opened[0] is not properties:
                self._opened = (properties, pyarrow_io().PyArrowFileIO(properties))
            return self._opened[1]

    def __reduce__(self) -> Any:
        """Another process has the credentials of now, and cannot renew them."""
        return LocalFirstIO, (dict(self.properties),)


def expire(properties: Mapping[str, Any]) -> bool:
    """Whether credentials among the properties of a FileIO say when they expire."""
    return bool(_ends(properties))


def now_ms() -> int:
    """The time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def _renewal_ms(properties: Mapping[str, Any]) -> float:
    ends = _ends(properties)
    now = now_ms()
    return max(min(ends) - MARGIN_MS, (now + min(ends)) // 2, now + SHORTEST_MS) if ends else math.inf


def _ends(properties: Mapping[str, Any]) -> list[int]:
    return [int(value) for name, value in properties.items() if name.startswith(ENDS) and str(value).isdecimal()]
