"""The shares and recipients in the memory of a process, which follows their registry."""

import time
from collections.abc import Callable

from featurestore.access.registry_follower import RegistryFollower
from featurestore.lakehouse import granted
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime
from featurestore.sharing.shares import Sharing, shares_table, sharing_of


class SharingBook(RegistryFollower[Sharing]):
    """The shares as they were last read."""

    what = "shares"

    def __init__(self, runtime: Runtime, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(runtime, shares_table(runtime.settings), clock)

    def sharing(self) -> Sharing:
        """All shares and recipients. Raises: NotReady if they were not read lately."""
        return self._fresh()

    def _read(self, table: Table | None) -> Sharing:
        return Sharing() if table is None else sharing_of(granted.system(table, self._runtime.settings))

    def _forget(self) -> None:
        """Nothing is computed from shares."""
