"""LMDB only: one environment per process, forks, a growing map, missing and unusable folders."""

import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import msgspec
import pytest

from featurestore.errors import NotReady, RequestError
from featurestore.online.factory import open_online
from featurestore.online.lmdb.environments import ENVIRONMENTS, Environments
from featurestore.online.lmdb.store import LmdbStore
from featurestore.online.store import Cursor, OnlineStore
from tests.forked import fork_context
from tests.online.processes import numbers_in, open_small, publish_once, publish_round
from tests.online.worlds import table

FORKING = """
import os, sys, threading
from tests.online.processes import numbers_in, open_small, publish_round
from tests.online.worlds import table

url, keys = sys.argv[1], 500
store = open_small(url)
publish_round(store, "v", 1, keys)
stop, wrong = threading.Event(), []

def watch():
    while not stop.is_set() and threading.main_thread().is_alive():
        [read] = store.read([("v", [(key,) for key in range(keys)])])
        if len(numbers_in(read)) != 1:
            wrong.append(read)

threads = [threading.Thread(target=watch) for _ in range(2)]
for thread in threads:
    thread.start()
for number in range(2, 12):
    child = os.fork()
    if not child:
        publish_round(store, "v", number, keys)
        [read] = store.read([("v", [(1,), (keys - 1,)])])
        os._exit(0 if numbers_in(read) == {number} else 1)
    publish_round(store, "other", number, keys)
    assert os.waitpid(child, 0)[1] == 0, number
    [read] = store.read([("v", [(1,)])])
    assert numbers_in(read) == {number}, read
stop.set()
for thread in threads:
    thread.join()
assert not wrong
store.close()
"""


@pytest.mark.slow
def test_a_forked_child_opens_the_file_anew(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKING, f"lmdb://{tmp_path}"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_map_grows_when_a_write_needs_more_than_was_thought(tmp_path: Path) -> None:
    environments = Environments(first_map_bytes=1 << 16)
    environment = environments.acquire(tmp_path, writable=True)
    calls = []

    def write(transaction: lmdb.Transaction) -> str:
        calls.append(1)
        for number in range(100):
            transaction.put(b"%d" % number, bytes(10_000))
        return "done"

    assert environment.write(write) == "done"
    assert len(calls) > 1
    assert environment.read(lambda transaction: len(bytes(transaction.get(b"99") or b"")), 0) == 10_000
    environments.release(environment)


@pytest.mark.slow
def test_readers_follow_a_map_that_another_process_made_larger(tmp_path: Path) -> None:
    url = f"lmdb://{tmp_path}"
    store = open_small(url)
    publish_round(store, "v", 1, 10)
    context = fork_context()
    ours, theirs = context.Pipe()
    writer = context.Process(target=publish_once, args=(url, 2, 50_000, False, theirs), daemon=True)
    writer.start()
    assert [ours.recv(), ours.recv()] == ["begin", "done"]
    ours.close()
    theirs.close()
    writer.join(60)
    assert writer.exitcode == 0
    assert numbers_in(store.read([("v", [(1,), (49_999,)])])[0]) == {2}
    publish_round(store, "v", 3, 50_000)
    assert numbers_in(store.read([("v", [(1,), (49_999,)])])[0]) == {3}
    store.close()


def test_a_store_deleted_and_made_anew_is_followed(tmp_path: Path) -> None:
    url = f"lmdb://{tmp_path / 'online'}"
    store, reader = open_online(url), open_online(url, readonly=True)
    publish_round(store, "v", 1, 10)
    shutil.rmtree(tmp_path / "online")
    assert reader.generation() == 0
    assert reader.cursor("v") is None
    publish_round(store, "v", 2, 5)
    assert numbers_in(reader.read([("v", [(1,)])])[0]) == {2}
    assert reader.read([("v", [(7,)])])[0].rows == [None]
    store.close()
    reader.close()


def test_a_publish_leaves_no_file_of_its_own(tmp_path: Path) -> None:
    store = open_online(f"lmdb://{tmp_path}")
    publish_round(store, "v", 1, 10)
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.mdb", "lock.mdb"]


def test_room_of_replaced_rows_is_used_again(tmp_path: Path) -> None:
    store = open_online(f"lmdb://{tmp_path}")
    sizes = []
    # Numbers of as many digits, so that all rounds take as much room.
    for number in range(10, 22):
        publish_round(store, "v", number, 2000, replace=True)
        sizes.append((tmp_path / "data.mdb").stat().st_size)
    store.close()
    assert sizes[-1] <= sizes[4]


def test_pages_of_new_tables_are_full(tmp_path: Path) -> None:
    store = open_online(f"lmdb://{tmp_path}")
    tables, sizes = ("first", "second", "third"), []
    for number, name in enumerate(tables, 1):
        publish_round(store, name, number, 20_000)
        sizes.append(store.size(tables).bytes or 0)
        shown = store.read([(table, [(0,), (19_999,)]) for table in tables[:number]])
        assert [numbers_in(read) for read in shown] == [{of} for of in range(1, number + 1)]
    assert store.size(tables).rows == dict.fromkeys(tables, 20_000)
    assert store.identity()
    assert not store.incomplete(tables)
    # A row has 18 bytes and its key 8; LMDB adds 10.
    assert sizes[-1] - sizes[-2] < 1.1 * 20_000 * (18 + 8 + 10)
    store.close()


def test_a_path_that_is_a_file_is_not_ready(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(NotReady, match=str(path)):
        LmdbStore(path)


def test_a_file_that_is_no_store_is_not_ready(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"x" * 10_000)
    for readonly in (True, False):
        with pytest.raises(NotReady, match=str(tmp_path)):
            LmdbStore(tmp_path, readonly=readonly)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    store.close()
    store.close()
    with pytest.raises(NotReady, match="closed"):
        store.read([("v", [(1,)])])


@pytest.mark.parametrize("url", ["lmdb://", "sqlite:///x", "/just/a/path", "", "redis:"])
def test_an_address_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match="lmdb://"):
        open_online(url)


def test_a_table_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    with pytest.raises(RequestError, match="longer"):
        publish_round(store, "v" * 600, 1, 1)
    assert store.cursor("v") != Cursor(1, 1)
    store.close()


def test_rows_of_a_header_that_does_not_say_how_new_they_are_are_looked_at(tmp_path: Path) -> None:
    store = open_online(f"lmdb://{tmp_path}")
    publish(store, [(1, 50, 50, 1), (2, 50, 50, 1)])
    environment = ENVIRONMENTS.acquire(tmp_path, writable=True)
    environment.write(forget_newest)
    ENVIRONMENTS.release(environment)
    assert publish(store, [(1, 40, 40, 2), (2, 60, 60, 2)]) == 1
    assert publish(store, [(1, 55, 55, 3), (2, 55, 55, 3)]) == 1
    assert values(store, (1,), (2,)) == [3, 2]
    store.close()


def test_newer_rows_take_the_place_of_all_and_older_ones_of_none(tmp_path: Path) -> None:
    store = open_online(f"lmdb://{tmp_path}")
    assert publish(store, [(1, 50, 50, 1), (2, 50, 50, 1)]) == 2
    assert publish(store, [(1, 70, 70, 2), (1, 60, 60, 3)]) == 1
    assert publish(store, [(1, 60, 60, 4), (2, 60, 60, 4)]) == 1
    assert publish(store, [(1, 70, 70, 2), (2, 70, 70, 5)]) == 1
    assert values(store, (1,), (2,)) == [2, 5]
    store.close()


def publish(store: OnlineStore, rows: list[tuple[int, int, int, int]]) -> int:
    return store.publish("t", table(rows), keys=["customer_id"], cursor=Cursor(None, None))


def values(store: OnlineStore, *keys: tuple[int]) -> list[int | None]:
    [read] = store.read([("t", keys)])
    return [None if row is None else row.values[0] for row in read.rows]


def forget_newest(transaction: lmdb.Transaction) -> None:
    """Make the header what was written before it said so."""
    header = msgspec.msgpack.decode(bytes(transaction.get(b"\xfftt") or b""))
    transaction.put(b"\xfftt", msgspec.msgpack.encode(header[:-1]))
