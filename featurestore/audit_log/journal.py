"""The last few entries of a chain before they have their hashes: each is copied into one small file that survives a killed process."""

import mmap
import os
from collections.abc import Iterator
from os import SEEK_END, lseek
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from featurestore import private
from featurestore.audit_log.entry import Entry, decode
from featurestore.audit_log.segment_file import SegmentCutShort, is_reserved

JOURNAL_BYTES = 32 << 10
"""Reserved bytes of the file."""
MOST_ENTRIES = 64
"""Entries that wait for their hashes at the same time: computing them one after the other takes a quarter of one alone, and the first of a
group takes as long as many of the others."""
_HEADER = Struct("<QQQQ")
"""The number of the entry, its time in microseconds, the size of its members, and all three combined."""
_HEADER_BYTES = _HEADER.size
_pack = _HEADER.pack


class Waiting(NamedTuple):
    """An entry without a hash: its time in microseconds, and its members as `encode` returns them."""

    time: int
    members: bytes


class Journal:
    """The file of one chain. It is written from the beginning again after the entries have gone into the chain.

    An entry is there once its header is, which is copied last. Its number tells it from one that is in the chain already.
    """

    def __init__(self, path: Path) -> None:
        """Raises: OSError."""
        private.make_file(path)
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(self._descriptor, 0, JOURNAL_BYTES)
            self._pages = mmap.mmap(self._descriptor, JOURNAL_BYTES)
        except OSError:
            os.close(self._descriptor)
            raise
        self._end = 0

    def append(self, number: int, time: int, members: bytes) -> bool:
        """Write an entry; False if there is no room for it. Raises: SegmentCutShort, as the pages must not be touched then; OSError."""
        start, size = self._end, len(members)
        end = start + _HEADER_BYTES + size
        if end > JOURNAL_BYTES:
            return False
        if lseek(self._descriptor, 0, SEEK_END) < JOURNAL_BYTES:
            raise SegmentCutShort(f"{self._path.name} was cut short after entries were written to it")
        pages, body = self._pages, start + _HEADER_BYTES
        pages[body:end] = members
        pages[start:body] = _pack(number, time, size, number ^ time ^ size)
        self._end = end
        return True

    def clear(self) -> None:
        """Write the next entry to the beginning: those before are in the chain."""
        self._end = 0

    def is_intact(self) -> bool:
        """Whether the file is as long as it was reserved, and still at its path. Raises: OSError."""
        return is_reserved(self._descriptor, self._path, JOURNAL_BYTES)

    def remove(self) -> None:
        """Remove the file: its entries are in a chain."""
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._pages.close()
        os.close(self._descriptor)


def read_journal(path: Path, chain: str) -> Iterator[tuple[Waiting, Entry]]:
    """The entries in the file of a chain, with increasing numbers; the first ones may be in the chain already. None if there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    start = last = 0
    while start + _HEADER_BYTES <= len(content):
        number, time, size, combined = _HEADER.unpack_from(content, start)
        start += _HEADER_BYTES
        members = content[start : start + size]
        start += size
        # What comes after the last entry was written before it.
        if not size or number ^ time ^ size != combined or (last and number != last + 1):
            return
        try:
            entry = decode(chain, number, time, members)
        except ValueError:
            return
        yield Waiting(time, members), entry
        last = number
