"""An object as a file of Iceberg's: metadata files are read and written as a whole, data files by ranges from their ends."""

import io
import re
from collections.abc import Sequence
from typing import Any, Self

import pyarrow as pa
from pyiceberg.io import InputFile, InputStream, OutputFile, OutputStream

from featurestore.lakehouse.bucket import Bucket, Range
from featurestore.lakehouse.kept_objects import KEPT, KEPT_COLUMNS, Content, Name
from featurestore.lakehouse.object_errors import ObjectError
from featurestore.lakehouse.object_upload import Upload

WHOLE_BYTES = 256 << 10
"""A data file of so many bytes is read as a whole."""
END_BYTES = 64 << 10
"""How many bytes of the end of a larger one are read first: most footers are smaller."""
READ_AHEAD = 1 << 20
"""The least number of bytes that are read otherwise."""
PART_BYTES = 16 << 20
"""A larger object is written in parts of this size, the others by one request."""
_METADATA = (".avro", ".json", ".metadata.json.gz")
_UNIQUE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class ObjectFile(InputFile, OutputFile):
    """An object of a bucket. Files of tables never change once they are written, so what was read is kept."""

    def __init__(self, location: str, bucket: Bucket, key: str, size: int | None = None) -> None:
        """`size`: its bytes, if the table's metadata say so, which saves a request."""
        super().__init__(location)
        self.bucket, self.key, self._size = bucket, key, size
        self.name: Name = (bucket.endpoint, bucket.name, key)

    def __len__(self) -> int:
        """The size in bytes. Raises: FileNotFoundError."""
        if self._size is None:
            kept = KEPT.get(self.name)
            self._size = self.bucket.size(self.key) if kept is None else kept.size
        return self._size

    def exists(self) -> bool:
        """Whether there is such an object."""
        try:
            self.bucket.size(self.key)
        except FileNotFoundError:
            return False
        return True

    def open(self, seekable: bool = True) -> InputStream:
        """Open the object for reading. Raises: FileNotFoundError, PermissionError."""
        if not self.location.endswith(_METADATA):
            ranged: InputStream = pa.PythonFile(RangedFile(self), "r")
            return ranged
        stream: InputStream = pa.BufferReader(self.read())
        return stream

    def read(self) -> pa.Buffer:
        """The whole object, which is kept. Raises: FileNotFoundError, PermissionError."""
        kept = KEPT.get(self.name)
        if kept is not None and kept.start == 0:
            return kept.bytes
        content = self.bucket.read(self.key)
        KEPT.keep(self.name, Content(content.size, 0, content))
        return content

    def read_end(self) -> Content:
        """The end of a data file, or all of a small one; it is kept."""
        kept = KEPT.get(self.name)
        if kept is None:
            size = len(self)
            start = 0 if size <= WHOLE_BYTES else size - END_BYTES
            (end,) = self.read_ranges([(start, size)]) if size else [pa.py_buffer(b"")]
            kept = Content(size, start, end)
            KEPT.keep(self.name, kept)
        return kept

    def read_ranges(self, ranges: Sequence[Range]) -> list[pa.Buffer]:
        """Parts of the object. Raises: FileNotFoundError, PermissionError."""
        if list(ranges) != [(0, len(self))]:
            return self.bucket.read_ranges(self.key, ranges)
        # Some servers answer a range that is all of an object as if there were no range, which clients refuse.
        content = self.bucket.read(self.key)
        if content.size != len(self):
            raise ObjectError("reading", self.location, "it has another size than the table's metadata say")
        return [content]

    def create(self, overwrite: bool = False) -> OutputStream:
        """Open the object for writing; it is there once the stream is closed.

        Raises: FileExistsError if it exists and `overwrite` is false; names with a UUID are new, and not looked for.
        """
        if not overwrite and not _UNIQUE.search(self.key) and self.exists():
            raise FileExistsError(f"Cannot create file, already exists: {self.location}")
        stream: OutputStream = ObjectStream(self.bucket, self.key, self.name, whole=self.location.endswith(_METADATA))
        return stream

    def delete(self) -> None:
        """Delete the object; nothing if it does not exist."""
        KEPT.drop(self.name)
        self.bucket.delete([self.key])

    def to_input_file(self) -> InputFile:
        """The same object, for reading."""
        return self


class RangedFile(io.RawIOBase):
    """An object that is read by ranges: those that were loaded before are read from memory."""

    def __init__(self, file: ObjectFile) -> None:
        super().__init__()
        self._file, self._place = file, 0
        self._size = len(file)
        self._loaded: list[tuple[int, pa.Buffer]] = []

    def load(self, ranges: Sequence[Range]) -> None:
        """Read ranges ahead, by few requests; they are kept."""
        end = KEPT.get(self._file.name)
        wanted = [part for part in ranges if end is None or part[0] < end.start]
        found = {part: kept.bytes for part in wanted if (kept := KEPT_COLUMNS.get((self._file.name, *part))) is not None}
        missing = [part for part in wanted if part not in found]
        if missing:
            read = dict(zip(missing, self._file.read_ranges(missing), strict=True))
            for (start, stop), content in read.items():
                KEPT_COLUMNS.keep((self._file.name, start, stop), Content(self._size, start, content))
            found |= read
        self._loaded = [(start, content) for (start, _), content in found.items()]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def size(self) -> int:
        """The size in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        content: bytes = self.read_buffer(size).to_pybytes()
        return content

    def read_buffer(self, size: int | None = -1) -> pa.Buffer:
        """The next bytes, without copying them; Arrow calls this."""
        start = min(self._place, self._size)
        end = self._size if size is None or size < 0 else min(start + size, self._size)
        self._place = end
        return self._part(start, end)

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        part = self.read_buffer(len(view))
        view[: part.size] = memoryview(part)
        return int(part.size)

    def _part(self, start: int, end: int) -> pa.Buffer:
        if start == end:
            return pa.py_buffer(b"")
        for first, content in self._loaded:
            if first <= start and end <= first + content.size:
                return content.slice(start - first, end - start)
        kept = self._file.read_end() if end == self._size else KEPT.get(self._file.name)
        if kept is not None and kept.start <= start:
            return kept.bytes.slice(start - kept.start, end - start)
        ahead = min(max(end, start + READ_AHEAD), self._size)
        (content,) = self._file.read_ranges([(start, ahead)])
        self._loaded = [*self._loaded[-1:], (start, content)]
        return content.slice(0, end - start)


class ObjectStream:
    """Writes an object: by one request when it is closed, or in parts if it is large. One that is not closed leaves nothing."""

    def __init__(self, bucket: Bucket, key: str, name: Name, *, whole: bool) -> None:
        """`whole`: all of the content is kept for readers, and else its end."""
        self._bucket, self._key, self._name, self._whole = bucket, key, name, whole
        self._pending, self._size = bytearray(), 0
        self._upload: Upload | None = None
        self.closed = False

    def writable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """How many bytes were written."""
        return self._size

    def flush(self) -> None:
        """Nothing: an object is there when it is whole."""

    def write(self, content: Any) -> int:
        """Add bytes. Raises: OSError, PermissionError."""
        view = memoryview(content).cast("B")
        self._pending += view
        self._size += len(view)
        if len(self._pending) > PART_BYTES + END_BYTES:
            # The end stays here, to be kept.
            self._send(len(self._pending) - END_BYTES)
        return len(view)

    def close(self) -> None:
        """Send what is left. Raises: OSError, PermissionError; there is no object then."""
        if self.closed:
            return
        self.closed = True
        end = bytes(self._pending)
        if self._upload is None:
            self._bucket.write(self._key, end)
        else:
            self._send(len(end))
            self._upload.close()
        if not self._whole and self._size > WHOLE_BYTES:
            end = end[-END_BYTES:]
        if len(end) == self._size or not self._whole:
            KEPT.keep(self._name, Content(self._size, self._size - len(end), pa.py_buffer(end)))

    def abort(self) -> None:
        """Leave nothing behind. Raises: OSError if a large object may be left."""
        if not self.closed:
            self.closed = True
            if self._upload is not None:
                self._upload.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failure: type[BaseException] | None, *rest: object) -> None:
        """Close it, or after a failure of the block abort it."""
        if failure is None:
            self.close()
        else:
            self.abort()

    def _send(self, length: int) -> None:
        if self._upload is None:
            self._upload = self._bucket.upload(self._key, PART_BYTES)
        self._upload.write(memoryview(self._pending)[:length])
        self._pending = self._pending[length:]
