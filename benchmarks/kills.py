"""`python -m benchmarks.kills [--kills N] [--rows N]`: kill publishers of an LMDB store inside writes, and readers inside reads.

After each kill the store must have all of the last publish or all of the one before, in all tables, and the next publish must complete.
Exits with status 1 if it does not.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import lmdb
import pyarrow as pa

from featurestore.online.lmdb.environments import Environments
from featurestore.online.lmdb.store import LmdbStore
from featurestore.online.store import Cursor

TABLES = ("first", "second")
FIRST_MAP_BYTES = 1 << 18
"""Small, so that the map has to grow."""
MORE_ROWS = 50
"""Each publish has so many rows more than the one before, so that the file grows."""
ROUNDS = 3.0
"""Publishers are killed within the time of so many publishes."""
READERS = "import lmdb, sys; print(lmdb.open(sys.argv[1], readonly=True).readers())"
_BEGUN, _DONE = b"b", b"d"
_STAMP = pa.timestamp("us", "UTC")


class Broken(Exception):
    """The store is not what it should be after a kill."""


@dataclass
class Killed:
    """What happened: kills inside a write, before or after one, and inside a read; publishes found complete and absent after the first."""

    writes: int = 0
    between: int = 0
    reads: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: {"old": 0, "new": 0})
    map_bytes: int = 0


class Kills:
    """Kills processes that use one store, and checks the store from a process that has it open all the time."""

    def __init__(self, folder: Path, rows: int, seed: int) -> None:
        self._folder, self._rows = folder, rows
        self._chance = random.Random(seed)
        self._environments = Environments(FIRST_MAP_BYTES)
        self._store = self._open()
        self._round = 0
        self.killed = Killed()
        began = time.perf_counter()
        self._publish(self._store, 1)
        self._seconds = time.perf_counter() - began
        self._round = 1

    def kill_publisher(self) -> None:
        """Kill a process that publishes round after round at a random instant, and check the store."""
        pid, pipe = self._start(self._publish_forever)
        os.read(pipe, 1)
        time.sleep(self._chance.uniform(0, ROUNDS * self._seconds))
        _kill(pid)
        marks = _BEGUN + _read_all(pipe)
        completed = self._round + marks.count(_DONE)
        inside = marks.endswith(_BEGUN)
        found = self._check(completed, completed + 1 if inside else completed)
        if inside:
            self.killed.writes += 1
            self.killed.outcomes["new" if found > completed else "old"] += 1
        else:
            self.killed.between += 1
        began = time.perf_counter()
        self._publish(self._store, found + 1, since=found)
        self._seconds = time.perf_counter() - began
        self._round = self._check(found + 1, found + 1)

    def kill_reader(self) -> None:
        """Kill a process inside a read transaction, and check that the next publish clears its slot in the table of readers."""
        pid, pipe = self._start(self._read_forever)
        os.read(pipe, 1)
        # The fork has closed the file. As long as no process has it open, there is no table of readers to clear.
        self._store.generation()
        _kill(pid)
        os.close(pipe)
        if not self._has_reader(pid):
            raise Broken(f"process {pid} was killed outside of its read transaction")
        self._publish(self._store, self._round + 1, since=self._round)
        self._round = self._check(self._round + 1, self._round + 1)
        if self._has_reader(pid):
            raise Broken(f"the slot of reader {pid}, which was killed, still keeps its pages from being used again")
        self.killed.reads += 1

    def close(self) -> None:
        """Close the store."""
        self.killed.map_bytes = (self._folder / "data.mdb").stat().st_size
        self._store.close()

    def _open(self, readonly: bool = False) -> LmdbStore:
        return LmdbStore(self._folder, readonly=readonly, environments=self._environments)

    def _start(self, work: Callable[[int], NoReturn]) -> tuple[int, int]:
        """Fork a process that does the work, and writes its progress to a pipe. Returns its id and the pipe."""
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(here)
                work(there)
            finally:
                os._exit(1)
        os.close(there)
        return pid, here

    def _publish_forever(self, pipe: int) -> NoReturn:
        store, number = self._open(), self._round
        while True:
            number += 1
            self._publish(store, number, since=number - 1, begin=lambda: os.write(pipe, _BEGUN))
            os.write(pipe, _DONE)

    def _read_forever(self, pipe: int) -> NoReturn:
        with lmdb.open(str(self._folder), readonly=True, map_size=FIRST_MAP_BYTES) as environment, environment.begin() as transaction:
            transaction.get(b"\xffg")
            os.write(pipe, _BEGUN)
            while True:
                transaction.get(b"\xffg")

    def _has_reader(self, pid: int) -> bool:
        """Whether the table of readers names a process. Another process looks, since this one has the file open; a fork would close it."""
        listed = subprocess.run([sys.executable, "-c", READERS, self._folder], check=True, capture_output=True, text=True).stdout
        return any(line.split()[:1] == [str(pid)] for line in listed.splitlines())

    def _publish(self, store: LmdbStore, number: int, since: int | None = None, begin: Callable[[], object] = lambda: None) -> None:
        """Publish a round: in both tables, every row and the cursor say `number`; the table is replaced now and then.

        `begin` is called when all is encoded and the write begins.
        """
        cursor = Cursor(number, number)
        with store.edition() as edition:
            for table in TABLES:
                rows = _rows(self._count(number), number)
                expected = None if since is None else Cursor(since, since)
                edition.add(table, rows, keys=["key"], cursor=cursor, since=expected, replace=number % 5 == 0)
            begin()
            edition.commit()

    def _count(self, number: int) -> int:
        return self._rows + MORE_ROWS * number

    def _check(self, oldest: int, newest: int) -> int:
        """The round that the whole store has, which must be one of two. Raises: Broken."""
        count = self._count(newest + 1)
        reads = self._store.read([(table, [(key,) for key in range(count)]) for table in TABLES])
        cursors = {read.cursor for read in reads}
        rounds = {row.values[0] for read in reads for row in read.rows if row is not None}
        if len(cursors) != 1 or len(rounds) != 1:
            raise Broken(f"the store mixes rounds {sorted(rounds)}, with cursors {cursors}")
        [number] = rounds
        rows = [sum(row is not None for row in read.rows) for read in reads]
        if cursors != {Cursor(number, number)} or not oldest <= number <= newest or rows != [self._count(number)] * len(TABLES):
            raise Broken(f"the store has {rows} rows of round {number} with cursors {cursors}; expected round {oldest} to {newest}")
        if missing := self._store.incomplete(TABLES):
            raise Broken(f"the store says that rows are missing: {missing}")
        return int(number)


def _rows(count: int, number: int) -> pa.Table:
    times = pa.array([number] * count, _STAMP)
    values = pa.array([number] * count, pa.int64())
    return pa.table({"key": pa.array(range(count), pa.int64()), "feature_timestamp": times, "created_timestamp": times, "round": values})


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise Broken(f"process {pid} ended by itself, with {os.waitstatus_to_exitcode(status)}")


def _read_all(pipe: int) -> bytes:
    with open(pipe, "rb") as file:
        return file.read()


def run(folder: Path, kills: int, rows: int, seed: int = 7) -> Killed:
    """Kill `kills` publishers inside writes, and a reader after every tenth. Raises: Broken."""
    harness = Kills(folder, rows, seed)
    while harness.killed.writes < kills:
        harness.kill_publisher()
        if harness.killed.reads <= harness.killed.writes // 10:
            harness.kill_reader()
    harness.close()
    return harness.killed


def main() -> None:
    """Run it, and print what happened."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills inside writes; 100")
    parser.add_argument("--rows", type=int, default=2000, help="rows of each table at first; 2000")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        killed = run(Path(folder), given.kills, given.rows)
    old, new = killed.outcomes["old"], killed.outcomes["new"]
    print(f"{killed.writes} publishers killed inside writes: {old} left the old state, {new} the new one")
    print(f"{killed.between} killed between writes, {killed.reads} readers killed inside reads")
    print(f"the file grew to {killed.map_bytes / FIRST_MAP_BYTES:.0f} times the first map")


if __name__ == "__main__":
    main()
