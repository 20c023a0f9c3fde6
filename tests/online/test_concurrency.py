"""Readers in other processes and threads see only complete publishes, also if the writer is killed."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from featurestore.online.keys import encode_key
from featurestore.online.redis.client import RedisClient
from featurestore.online.store import Cursor
from tests.forked import fork_context
from tests.online import processes
from tests.online.processes import numbers_in, open_small, publish_round
from tests.online.worlds import IN_A_CLUSTER_TOO, table

KEYS = 3000
MOST_ROUNDS = 500


@pytest.fixture
def started() -> Iterator[list[multiprocessing.process.BaseProcess]]:
    """Processes that are ended with the test."""
    running: list[multiprocessing.process.BaseProcess] = []
    yield running
    for process in running:
        process.join(10)
        if process.is_alive():
            process.kill()


@pytest.mark.slow
@IN_A_CLUSTER_TOO
def test_reader_processes_see_whole_publishes_only(url: str, started: list[multiprocessing.process.BaseProcess]) -> None:
    context = fork_context()
    stop, wrong = context.Event(), context.Queue()
    ready, enough = ([context.Event() for _ in range(2)] for _ in range(2))
    for events in zip(ready, enough, strict=True):
        process = context.Process(target=processes.watch, args=(url, KEYS, *events, stop, wrong), daemon=True)
        process.start()
        started.append(process)
    assert all(event.wait(30) for event in ready)
    store = open_small(url)
    number = 0
    while number < 15 or (number < MOST_ROUNDS and not all(event.is_set() for event in enough)):
        number += 1
        # Now and then the whole table is replaced, and in between rows come in parts of all orders.
        publish_round(store, "first", number, KEYS, replace=number % 5 == 0)
        publish_round(store, "second", number, KEYS)
    stop.set()
    assert [wrong.get(timeout=30) for _ in ready] == [[], []]
    store.close()
    assert all(event.is_set() for event in enough)


@pytest.mark.slow
@IN_A_CLUSTER_TOO
def test_threads_read_while_another_publishes(url: str) -> None:
    store = open_small(url)
    publish_round(store, "v", 1, KEYS)
    stop = threading.Event()
    wrong: list[object] = []
    expected = [("v", [(key,) for key in range(0, KEYS, 100)])]

    def watch() -> None:
        while not stop.is_set():
            [read] = store.read(expected)
            if len(numbers_in(read)) != 1:
                wrong.append(read)

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(2, 12):
        publish_round(store, "v", number, KEYS, replace=number % 4 == 0)
        publish_round(store, f"another {number}", number, KEYS)
    stop.set()
    for thread in threads:
        thread.join()
    store.close()
    assert not wrong


@IN_A_CLUSTER_TOO
def test_two_writers_take_turns(url: str) -> None:
    stores = [open_small(url), open_small(url)]

    def write(start: int) -> None:
        for number in range(start, 20, 2):
            rows = table([(key, number, number, number) for key in range(start, 50)])
            stores[start % 2].publish("v", rows, keys=["customer_id"], cursor=Cursor(number, None))

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [read] = stores[0].read([("v", [(key,) for key in range(1, 50)])])
    assert {row.values[0] for row in read.rows if row is not None} == {19}
    for store in stores:
        store.close()


@pytest.mark.slow
@pytest.mark.parametrize("mode,when", [("upsert", "writing"), ("replace", "writing"), ("upsert", "halfway")])
def test_a_writer_killed_in_the_middle_leaves_the_old_state(
    url: str, mode: str, when: str, started: list[multiprocessing.process.BaseProcess]
) -> None:
    keys, expected = 20_000, [("v", [(key,) for key in range(0, 20_000, 100)])]
    store = open_small(url)
    began = time.monotonic()
    publish_round(store, "v", 1, keys)
    halfway = (time.monotonic() - began) / 2
    reader = open_small(url, readonly=True)
    begun = has_begun_to_write(url) if when == "writing" else has_passed(halfway)
    context = fork_context()
    ours, theirs = context.Pipe()
    writer = context.Process(target=processes.publish_once, args=(url, 2, keys, mode == "replace", theirs), daemon=True)
    writer.start()
    theirs.close()
    started.append(writer)
    assert ours.recv() == "begin"
    while not begun():
        pass
    writer.kill()
    writer.join()
    done = False
    with suppress(EOFError):
        done = ours.recv() == "done"
    for state in (reader.read(expected), store.read(expected)):
        assert numbers_in(state[0]) in (({2},) if done else ({1}, {2}))
    publish_round(store, "v", 3, keys)
    assert numbers_in(reader.read(expected)[0]) == {3}
    store.close()
    reader.close()


def has_begun_to_write(url: str) -> Callable[[], bool]:
    """Whether another process's publish of "v" has reached the file or the server; half of it is there, then."""
    if url.startswith("lmdb://"):
        data = Path(url.removeprefix("lmdb://")) / "data.mdb"
        before = data.stat().st_mtime_ns
        return lambda: data.stat().st_mtime_ns != before
    client = RedisClient(url)
    counter, key = int(client.commands.get(client.names.base + b"n")), encode_key((0,)) or b""
    old, new = (client.names.base + b"r:%d:" % number + key for number in (counter, counter + 1))
    first = client.commands.get(old)
    return lambda: client.commands.mget([old, new]) != [first, None]


def has_passed(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end
