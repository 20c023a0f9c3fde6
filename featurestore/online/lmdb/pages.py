"""Check the pages of an LMDB file before it is mapped: reading a mapped page beyond the end of the file kills the process.

Format, of LMDB 0.9 on 64-bit machines: https://github.com/LMDB/lmdb/blob/mdb.RE/0.9/libraries/liblmdb/mdb.c
"""

import os
from collections.abc import Iterator
from pathlib import Path
from struct import Struct, error
from typing import NamedTuple

_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _META = 0x01, 0x02, 0x04, 0x08
_BIG = 0x01
"""Flag of a leaf node whose value is stored on overflow pages."""
_PAGE = Struct("=QHHHH")
_META_HEAD = Struct("=IIQQ")
_TREE = Struct("=IHHQQQQQ")
_META_TAIL = Struct("=QQ")
_NODE = Struct("=HHHH")
_PLACE = Struct("=H")
_NUMBER = Struct("=Q")
_PAGES = Struct("=I")
_LEAST_PAGE, _MOST_PAGE = 512, 1 << 16
_NO_PAGE = (1 << 64) - 1


class _Damaged(Exception):
    """A file is damaged; the message describes how."""


class _State(NamedTuple):
    """The content of a meta page. Of the two, the one with the later transaction is valid."""

    transaction: int
    page_bytes: int
    last_page: int
    roots: tuple[int, ...]


def damage(path: Path) -> str | None:
    """Describe why LMDB cannot safely map a file; None if a quick check finds no damage.

    Checks both meta pages and the roots. If the file is shorter than its last page number implies, checks all reachable pages, since
    the last pages of an intact file may be free and not written yet. Raises: OSError.
    """
    with path.open("rb") as file:
        before = None
        while True:
            try:
                state = None
                state = _state(file.fileno())
                _check(file.fileno(), state)
                return None
            except (_Damaged, error) as damaged:
                # A writer may have changed the file during the check: then check its new state.
                if state == before or state is None:
                    return str(damaged)
                before = state


def _state(file: int) -> _State:
    page_bytes = _LEAST_PAGE
    states = []
    for number in (0, 1):
        data = os.pread(file, _LEAST_PAGE, number * page_bytes)
        if len(data) < _LEAST_PAGE:
            raise _Damaged(f"it ends after {os.fstat(file).st_size} bytes, before its second page")
        magic, version, _, _ = _META_HEAD.unpack_from(data, _PAGE.size)
        if magic != _MAGIC or not _PAGE.unpack_from(data)[2] & _META:
            raise _Damaged(f"page {number} is not an LMDB meta page")
        if version != _VERSION:
            raise _Damaged(f"it has version {version} of LMDB's format; version {_VERSION} is supported")
        trees = [_TREE.unpack_from(data, _PAGE.size + _META_HEAD.size + at * _TREE.size) for at in (0, 1)]
        last, transaction = _META_TAIL.unpack_from(data, _PAGE.size + _META_HEAD.size + 2 * _TREE.size)
        page_bytes = trees[0][0]
        if not _LEAST_PAGE <= page_bytes <= _MOST_PAGE or page_bytes & (page_bytes - 1):
            raise _Damaged(f"page {number} has an invalid page size of {page_bytes} bytes")
        states.append(_State(transaction, page_bytes, last, tuple(tree[-1] for tree in trees if tree[-1] != _NO_PAGE)))
    return max(states)


def _check(file: int, state: _State) -> None:
    for root in state.roots:
        _page(file, state, root, _BRANCH | _LEAF)
    if os.fstat(file).st_size < (state.last_page + 1) * state.page_bytes:
        waiting = [(root, _BRANCH | _LEAF) for root in state.roots]
        while waiting:
            number, page_types = waiting.pop()
            waiting += _below(_page(file, state, number, page_types))


def _page(file: int, state: _State, number: int, page_types: int) -> bytes:
    """Read a page and check its number, type and extent. Raises: _Damaged."""
    data = os.pread(file, state.page_bytes, number * state.page_bytes) if number <= state.last_page else b""
    if len(data) < state.page_bytes:
        raise _Damaged(f"page {number} is missing: it ends after {os.fstat(file).st_size} bytes")
    stored_number, _, flags, lower, upper = _PAGE.unpack_from(data)
    if stored_number != number or not flags & page_types:
        raise _Damaged(f"page {number} has another page's number or type")
    if flags & _OVERFLOW:
        pages = _PAGES.unpack_from(data, 12)[0]
        if os.fstat(file).st_size < (number + pages) * state.page_bytes:
            raise _Damaged(f"pages {number} to {number + pages - 1} are partly missing")
    elif not _PAGE.size <= lower <= upper <= state.page_bytes:
        raise _Damaged(f"page {number} has an invalid header")
    return data


def _below(page: bytes) -> Iterator[tuple[int, int]]:
    """The page numbers and types that a page refers to."""
    _, _, flags, lower, _ = _PAGE.unpack_from(page)
    if flags & _OVERFLOW:
        return
    for (place,) in _PLACE.iter_unpack(page[_PAGE.size : lower]):
        low, high, node_flags, key_bytes = _NODE.unpack_from(page, place)
        if flags & _BRANCH:
            yield low | high << 16 | node_flags << 32, _BRANCH | _LEAF
        elif node_flags & _BIG:
            yield _NUMBER.unpack_from(page, place + _NODE.size + key_bytes)[0], _OVERFLOW
