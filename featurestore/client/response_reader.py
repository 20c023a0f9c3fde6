"""A response's body as a file: what Arrow reads from while it is still arriving."""

from typing import Any

import httpx


class Inlet:
    """Reads exactly as many bytes as asked for, fewer only at the end."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks = response.iter_bytes(1 << 20)
        self._held = bytearray()
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, all that is left when it is negative."""
        while size < 0 or len(self._held) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._held += chunk
        end = len(self._held) if size < 0 else size
        taken = bytes(self._held[:end])
        del self._held[:end]
        return taken

    def readable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Never."""
        return False

    def seekable(self) -> bool:
        """Never: what was read is gone."""
        return False

    def close(self, *_: Any) -> None:
        """The response is closed by whoever opened it."""
        self.closed = True
