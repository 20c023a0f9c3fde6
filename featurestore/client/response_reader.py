"""A response body as a file, which Arrow reads while it arrives."""

from typing import Any

import httpx


class ResponseReader:
    """Reads exactly as many bytes as requested; fewer only at the end."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks = response.iter_bytes(1 << 20)
        self._buffer = bytearray()
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes; a negative size reads to the end."""
        while size < 0 or len(self._buffer) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._buffer += chunk
        end = len(self._buffer) if size < 0 else size
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        return data

    def readable(self) -> bool:
        """Always true."""
        return True

    def writable(self) -> bool:
        """Always false."""
        return False

    def seekable(self) -> bool:
        """Always false: bytes that were read are not kept."""
        return False

    def close(self, *_: Any) -> None:
        """Mark the file closed; whoever opened the response closes it."""
        self.closed = True
