"""Overwrite what LMDB leaves of deleted and replaced rows: in pages that it has freed, and between the entries of pages in use.

A page is never changed in place: it is copied, and the old one is freed and keeps its bytes until it is used again. A copy may have bytes
of other pages between its entries, from memory that LMDB uses again. So freed pages are filled first, which also clears that memory; then
every entry is written again, which copies every page; and the pages that this frees are filled.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import cast

import lmdb

from featurestore.online.lmdb import transactions
from featurestore.online.lmdb.environment import Environment

_FILLING = b"\xffz"
"""The prefix of the entries that fill pages. Like all that is not a row, it starts with 0xff."""
_PAGE_HEADER = 16
_BATCH_PAGES = 10_000
_BATCH_ENTRIES = 100_000
_GROWTH = 10
"""If the file grows by more than a tenth of the pages to be filled, not all of them could be used again."""


def overwrite_freed(environment: Environment) -> list[str]:
    """See OnlineStore.overwrite_freed."""
    in_use = _fill(environment)
    after: bytes | None = b""
    while after is not None:
        after = environment.write(partial(_write_again, after=after))
    in_use = _fill(environment) or in_use
    file = environment.path / "data.mdb"
    return [f"online store: pages of {file} with deleted rows are held by a reader that does not end; erase again"] if in_use else []


def _fill(environment: Environment) -> bool:
    """Fill every freed page; whether some could not be used, since a reader may still need them."""
    for _ in range(2):
        # What a transaction frees can be used by the second one after it.
        environment.write(transactions.touch)
    pages, page_bytes, before = environment.freed_pages()
    for first in range(0, pages, _BATCH_PAGES):
        count = min(_BATCH_PAGES, pages - first)
        environment.write(partial(_put_filling, first=first, count=count, size=page_bytes - _PAGE_HEADER), 2 * count * page_bytes)
    _, _, after = environment.freed_pages()
    more = True
    while more:
        more = environment.write(_remove_filling)
    return after - before > 100 + pages // _GROWTH


def _put_filling(txn: lmdb.Transaction, *, first: int, count: int, size: int) -> None:
    for number in range(first, first + count):
        txn.put(_FILLING + number.to_bytes(8, "big"), bytes(size))


def _remove_filling(txn: lmdb.Transaction) -> bool:
    """Remove a batch; whether there may be more."""
    with txn.cursor() as cursor:
        keys = list(islice(_keys_from(cursor, _FILLING), _BATCH_PAGES))
    filling = [key for key in keys if key.startswith(_FILLING)]
    for key in filling:
        txn.delete(key)
    return len(filling) == _BATCH_PAGES


def _write_again(txn: lmdb.Transaction, *, after: bytes) -> bytes | None:
    """Write a batch of entries with the values that they have; the last key, None if there are no more."""
    with txn.cursor() as cursor:
        entries: Callable[[], Iterator[tuple[bytes, bytes]]] = cursor.iternext  # type: ignore[assignment]
        batch = list(islice(entries(), _BATCH_ENTRIES)) if cursor.set_range(after or b"\0") else []
    for key, value in batch:
        txn.put(key, value)
    return batch[-1][0] + b"\0" if len(batch) == _BATCH_ENTRIES else None


def _keys_from(cursor: lmdb.Cursor, prefix: bytes) -> Iterator[bytes]:
    return cast(Iterator[bytes], cursor.iternext(values=False)) if cursor.set_range(prefix) else iter(())
