"""An object that is written in parts while its content is still made."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import obstore
from obstore.store import S3Store

CONCURRENT_PARTS = 4
"""How many parts are sent at the same time: each is in memory."""


class Upload:
    """It is there as a whole after `close`, and not at all after `cancel`."""

    def __init__(self, store: S3Store, key: str, part_bytes: int, told: Callable[[], AbstractContextManager[None]]) -> None:
        """`told` is the context of each request, which translates its errors."""
        self._store, self._key, self._told = store, key, told
        self._writer = obstore.open_writer(store, key, buffer_size=part_bytes, max_concurrency=CONCURRENT_PARTS)

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Add bytes."""
        with self._told():
            self._writer.write(bytes(content))

    def close(self) -> None:
        """Send the rest."""
        with self._told():
            self._writer.close()

    def cancel(self) -> None:
        """End the upload, and delete it: parts of one that never ends would stay, and be paid for."""
        with suppress(Exception):
            self._writer.close()
        with self._told():
            obstore.delete(self._store, self._key)
