"""The processes in the tests of online stores: they read during changes, or publish until they are killed."""

from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from featurestore.online.lmdb.environments import Environments
from featurestore.online.lmdb.store import LmdbStore
from featurestore.online.redis.store import RedisStore
from featurestore.online.store import Cursor, OnlineStore, Read
from tests.online.worlds import table

# One for each process, because LMDB allows one opening of a file in each; its maps are small, so that they have to grow.
SMALL = Environments(first_map_bytes=1 << 18)


def open_small(url: str, *, readonly: bool = False) -> OnlineStore:
    """A store that shows its edges soon: a map that has to grow, a lease that runs out."""
    if url.startswith("lmdb://"):
        return LmdbStore(Path(url.removeprefix("lmdb://")), readonly=readonly, environments=SMALL)
    # A step of a publish takes longer in a cluster, where it is a command for each slot.
    return RedisStore(url, readonly=readonly, lease_seconds=5 if "+cluster" in url else 0.5)


def publish_round(store: OnlineStore, name: str, number: int, keys: int, *, replace: bool = False) -> None:
    """Every key's row and the cursor say `number`."""
    rows = table([(key, number, number, number) for key in range(keys)])
    store.publish(name, rows, keys=["customer_id"], cursor=Cursor(number, number), replace=replace)


def numbers_in(read: Read) -> set[int | None]:
    """The rounds that a read shows: its rows' and its cursor's. More than one is half a publish."""
    rows = {None if row is None else row.values[0] for row in read.rows}
    return rows | {read.cursor.snapshot_id if read.cursor is not None else None}


def watch(url: str, keys: int, started: Event, enough: Event, stop: Event, wrong_reads: Any) -> None:
    """Read tables "first" and "second" until told to stop, say when more than five rounds were seen, and report what was wrong."""
    store = open_small(url, readonly=True)
    expected = [(name, [(key,) for key in range(0, keys, keys // 50)]) for name in ("first", "second")]
    seen: set[int | None] = set()
    wrong: list[str] = []
    reads, latest = 0, 0
    while not stop.is_set() and not wrong:
        first, second = (numbers_in(read) for read in store.read(expected))
        reads += 1
        seen |= first | second
        if len(first) != 1 or len(second) != 1:
            wrong.append(f"half a publish: {first} {second}")
        [left], [right] = list(first)[:1], list(second)[:1]
        # "first" is published before "second": at one instant it is level or one round ahead.
        if (left or 0) - (right or 0) not in (0, 1) or (left or 0) < latest:
            wrong.append(f"not one state, or back in time: {left} {right} after {latest}")
        latest = left or 0
        started.set()
        if reads > 15 and len(seen) > 5:
            enough.set()
    wrong_reads.put(wrong)
    store.close()


def publish_once(url: str, number: int, keys: int, replace: bool, parent: Connection) -> None:
    """Publish one round, say when it begins and when it is done, and wait for the parent to end this process or the connection."""
    store = open_small(url)
    parent.send("begin")
    publish_round(store, "v", number, keys, replace=replace)
    parent.send("done")
    parent.poll(None)
    store.close()
