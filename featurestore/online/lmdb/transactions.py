"""Transactions of an LMDB store: how its entries are laid out, and what publishes, drops, reads and counts them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, takewhile
from typing import cast
from uuid import uuid4

import lmdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import RequestError
from featurestore.online.edition import TableChange
from featurestore.online.header import OLD_FORMAT, Header, decode_header, next_header, readable_header, size_of
from featurestore.online.publish_buffer import PublishBuffer
from featurestore.online.rows import Shape, replaces
from featurestore.online.store import StoreSize, check_since, next_generation

# A row's key is the number of its table followed by the encoded key, so that a table is loaded in order and dropped as a range.
# (With the encoded key first, 100 keys of 3 tables are read in 0.7 of the time, but the third table of 1M rows takes 10 times as
# long to load, and the file is 2.3 times as large.) Table numbers are below 0xff000000; other entries of the store start with 0xff.
_NOT_ROWS = b"\xff"
_GENERATION = b"\xffg"
_EDITION = b"\xffe"
IDENTITY = b"\xffi"
_NEXT_ID = b"\xffn"
_HEADER = b"\xfft"
_NAME_BYTES = 480
_BATCH_ROWS = 100_000

Get = Callable[[bytes], bytes | None]
Entries = Callable[[lmdb.Transaction], int]


def publish(txn: lmdb.Transaction, *, changes: Sequence[TableChange], entries: Entries, rows_only: bool = False) -> dict[str, int]:
    """Write the changes of tables as the next edition, with `rows_only` of the same generation; the number of rows written by table."""
    if get(txn, IDENTITY) is None:
        txn.put(IDENTITY, uuid4().hex.encode())
    edition = _next_edition(txn) if rows_only else touch(txn)
    return {change.table: _publish_table(txn, change, edition, entries) for change in changes}


def _publish_table(txn: lmdb.Transaction, change: TableChange, edition: int, entries: Entries) -> int:
    name = header_key(change.table)
    data = get(txn, name)
    stored = readable_header(data)
    check_since(change.table, change.since, None if stored is None else stored.cursor)
    header = next_header(stored, change.shape, change.cursor, replace=change.replace, new_id=lambda: _next_id(txn))
    if data is not None and (change.replace or stored is None):
        _delete_rows(txn, decode_header(data).id)
    entries_before = entries(txn)
    for key in change.removed:
        txn.delete(row_prefix(header.id) + key)
    rows_before = 0 if stored is None or change.replace or not stored.shape.keys else stored.rows
    newest = b"" if stored is None or change.replace or not stored.shape.keys else stored.newest
    written = _write(txn, change.buffer, row_prefix(header.id), fresh=newest is not None and change.buffer.oldest > newest)
    rows = None if rows_before is None else rows_before + entries(txn) - entries_before
    newest_after = None if newest is None else max(newest, change.buffer.newest)
    txn.put(name, msgspec.structs.replace(header, newest=newest_after, rows=rows, edition=edition).encode())
    return written


def _write(txn: lmdb.Transaction, buffer: PublishBuffer, prefix: bytes, fresh: bool) -> int:
    """Write the rows that are not older than the stored ones.

    `fresh`: all rows are newer than any stored row, so rows with ascending keys are written without reading the stored ones.
    """
    if fresh and _is_last(txn, prefix):
        with _own_entries_taken_out(txn):
            return _put(txn, buffer, prefix, fresh=True, append=True)
    return _put(txn, buffer, prefix, fresh=fresh, append=False)


def _put(txn: lmdb.Transaction, buffer: PublishBuffer, prefix: bytes, *, fresh: bool, append: bool) -> int:
    cursor = txn.cursor()
    written = 0
    last = b""
    for key_array, row_array in buffer:
        # Arrow prefixes the keys in half of the time that Python takes.
        keys: list[bytes] = pc.binary_join_element_wise(pa.scalar(prefix), key_array, b"").to_pylist()
        items: Iterable[tuple[bytes, bytes]] = zip(keys, row_array.to_pylist(), strict=True)
        if fresh and keys[0] > last:
            last = keys[-1]
        else:
            fresh = append = False
            stored = cast(dict[bytes, bytes], dict(cursor.getmulti(keys)))
            items = [(key, row) for key, row in items if replaces(row, stored.get(key))]
        consumed, _ = cursor.putmulti(items, append=append)
        written += consumed
    return written


def _is_last(txn: lmdb.Transaction, prefix: bytes) -> bool:
    """Whether a table has no rows, and no other table has any after where they belong."""
    with txn.cursor() as cursor:
        return not cursor.set_range(prefix) or bytes(cursor.key()).startswith(_NOT_ROWS)


@contextmanager
def _own_entries_taken_out(txn: lmdb.Transaction) -> Iterator[None]:
    """Without the entries that are not rows, which sort after all rows: LMDB fills pages only where a key is put after all others, and
    otherwise leaves each half empty. Loading a table takes two thirds of the time so, and of the space.
    """
    own = list(_entries_of_store(txn))
    for key, _ in own:
        txn.delete(key)
    yield
    txn.cursor().putmulti(own, append=True)


def drop_table(txn: lmdb.Transaction, *, name: bytes) -> None:
    """Delete a table; its name is that of its header."""
    data = get(txn, name)
    if data is not None:
        _delete_rows(txn, decode_header(data).id)
        txn.delete(name)
    touch(txn)


def _delete_rows(txn: lmdb.Transaction, number: int) -> None:
    """Delete a table's rows."""
    prefix = row_prefix(number)
    while True:
        with txn.cursor() as cursor:
            exists = cursor.set_range(prefix)
            keys = list(islice(cast(Iterator[bytes], cursor.iternext(values=False)), _BATCH_ROWS)) if exists else []
        for key in keys:
            if not key.startswith(prefix):
                return
            txn.delete(key)
        if len(keys) < _BATCH_ROWS:
            return


def key_batch(txn: lmdb.Transaction, *, name: bytes, after: bytes) -> list[bytes]:
    """A batch of a table's encoded keys in order, those after the key `after`."""
    data = get(txn, name)
    header = readable_header(data)
    if header is None:
        return []
    prefix = row_prefix(header.id)
    with txn.cursor() as cursor:
        exists = cursor.set_range(prefix + after)
        keys = list(islice(cast(Iterator[bytes], cursor.iternext(values=False)), _BATCH_ROWS)) if exists else []
    return [key[len(prefix) :] for key in keys if key.startswith(prefix) and key != prefix + after]


def getter(txn: lmdb.Transaction) -> Get:
    """Reads the value of a key; None if there is none."""
    # lmdb's type hints include memoryview, which is returned only with buffers=True.
    return cast(Get, txn.get)


def get(txn: lmdb.Transaction, key: bytes) -> bytes | None:
    """The value of a key; None if there is none."""
    return getter(txn)(key)


def get_header(get: Get, name: str) -> bytes | None:
    """The header of a table; None if there is no such table."""
    return get(header_key(name))


def shape_of_table(txn: lmdb.Transaction, name: bytes) -> Shape:
    """The shape of a table; an empty one if there is none that can be read."""
    data = get(txn, name)
    header = readable_header(data)
    return header.shape if header is not None else Shape()


def generation_of(txn: lmdb.Transaction) -> int:
    """The number of the newest change that was not of rows only."""
    return int.from_bytes(get(txn, _GENERATION) or b"", "big")


def edition_of(txn: lmdb.Transaction) -> int:
    """The number of the newest edition, which a change of rows only increases, too; a release before such changes counted one number."""
    return max(int.from_bytes(get(txn, _EDITION) or b"", "big"), generation_of(txn))


def touch(txn: lmdb.Transaction) -> int:
    """Increase the generation and the edition, which are the same then, and return the new one."""
    generation = _next_edition(txn)
    txn.put(_GENERATION, generation.to_bytes(8, "big"))
    return generation


def _next_edition(txn: lmdb.Transaction) -> int:
    edition = next_generation(edition_of(txn))
    txn.put(_EDITION, edition.to_bytes(8, "big"))
    return edition


def incomplete(txn: lmdb.Transaction, *, tables: Collection[str], entries: Entries) -> dict[str, str]:
    """Describe what is wrong, by table. Counts rows only if the number of entries shows that any are missing."""
    headers, not_rows = {}, 0
    for key, value in _entries_of_store(txn):
        if key.startswith(_HEADER):
            headers[key] = decode_header(value)
        not_rows += 1
    rows = [header.rows for header in headers.values()]
    whole = None in rows or entries(txn) == not_rows + sum(filter(None, rows))
    requested = {table: headers[key] for table in tables if (key := header_key(table)) in headers}
    problems = {table: _problem(txn, header, count=not whole) for table, header in requested.items()}
    return {table: problem for table, problem in problems.items() if problem is not None}


def size(txn: lmdb.Transaction, *, tables: Collection[str], used: Callable[[], int]) -> StoreSize:
    """The rows of these tables, and the bytes that are used."""
    headers = {table: header for table in tables if (header := readable_header(get(txn, header_key(table)))) is not None}
    return size_of(headers, used())


def _problem(txn: lmdb.Transaction, header: Header, *, count: bool) -> str | None:
    """What is wrong with a table: its format and, with `count`, its number of rows. None if nothing is."""
    if not header.readable:
        return OLD_FORMAT
    if not count or header.rows is None:
        return None
    missing = header.rows - _count_rows(txn, header.id)
    return f"{missing:,} of {header.rows:,} rows are missing" if missing > 0 else None


def _entries_of_store(txn: lmdb.Transaction) -> Iterator[tuple[bytes, bytes]]:
    """The entries that are not rows: generation, identity, counter and headers."""
    with txn.cursor() as cursor:
        if cursor.set_range(_NOT_ROWS):
            yield from cast(Iterator[tuple[bytes, bytes]], cursor.iternext())


def _count_rows(txn: lmdb.Transaction, number: int) -> int:
    prefix = row_prefix(number)
    with txn.cursor() as cursor:
        exists = cursor.set_range(prefix)
        keys = cast(Iterator[bytes], cursor.iternext(values=False)) if exists else iter(())
        return sum(1 for _ in takewhile(lambda key: key.startswith(prefix), keys))


def _next_id(txn: lmdb.Transaction) -> int:
    number = int.from_bytes(get(txn, _NEXT_ID) or b"", "big") + 1
    txn.put(_NEXT_ID, number.to_bytes(8, "big"))
    return number


def row_prefix(number: int) -> bytes:
    """What the keys of a table's rows start with."""
    return number.to_bytes(4, "big")


def header_key(table: str) -> bytes:
    """The key of a table's header. Raises: RequestError for a name that is too long."""
    name = table.encode()
    if len(name) > _NAME_BYTES:
        raise RequestError(f"the table name '{table}' is longer than {_NAME_BYTES} bytes")
    return _HEADER + name
