"""Every log of pushed events keeps what it acknowledged, counts an id once, and notices that it lost something."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.errors import NotReady, OutOfResources
from featurestore.push.event_log import EventLog
from featurestore.push.group_commit import GroupCommit
from featurestore.push.lot import Lot, make_lot
from featurestore.push.sqlite_log import SqliteLog
from featurestore.values import times

AT = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400_000_000
OpenLog = Callable[[], EventLog]


@pytest.fixture
def open_log(tmp_path: Path) -> Iterator[OpenLog]:
    opened: list[EventLog] = []

    def open_one() -> EventLog:
        opened.append(SqliteLog(tmp_path / "push.sqlite", 1 << 30, DAY))
        return opened[-1]

    yield open_one
    for log in opened:
        log.close()


def lot(*ids: str, named: bool = True) -> Lot:
    rows = pa.table({"id": list(ids), "at": pa.array([AT] * len(ids), pa.timestamp("us", "UTC"))})
    return make_lot(rows, "at", "id" if named else None)


def ids(log: EventLog, after: int = 0, rows: int = 1000) -> list[str]:
    tail = log.read("s", after, rows)
    return [] if tail is None else tail.rows.column("id").to_pylist()


def test_an_id_counts_once_whoever_sends_it(open_log: OpenLog) -> None:
    first, second = open_log(), open_log()
    assert first.identity() == second.identity()
    a, b = first.append("s", [lot("1", "2", "2"), lot("2", "3")])
    assert (a.offset, a.rows, a.known, b.offset, b.rows, b.known) == (1, 2, 0, 2, 1, 1)
    c = second.append("s", [lot("3", "1")])[0]
    assert (c.offset, c.rows, c.known) == (2, 0, 2)
    assert second.append("other", [lot("1")])[0].rows == 1
    assert ids(second) == ["1", "2", "3"]
    assert first.append("s", [lot("1", named=False)])[0].offset == 3
    assert ids(second, after=2) == ["1"]
    tail = second.read("s", 0, 1)
    assert tail is not None
    assert (tail.first, tail.last, tail.rows.num_rows) == (1, 1, 2)
    assert tail.rows.column("acknowledged").cast(pa.int64()).to_pylist() == [a.at, a.at]


def test_lots_with_more_columns_are_read_with_the_others(open_log: OpenLog) -> None:
    log = open_log()
    wider = pa.table({"id": ["2"], "at": pa.array([AT], pa.timestamp("us", "UTC")), "x": [1.5]})
    log.append("s", [lot("1"), make_lot(wider, "at", "id")])
    tail = log.read("s", 0, 10)
    assert tail is not None
    assert tail.rows.column_names == ["id", "at", "x", "acknowledged"]
    assert tail.rows.column("x").to_pylist() == [None, 1.5]


def test_trimmed_and_lost_entries_are_errors(open_log: OpenLog) -> None:
    log = open_log()
    for number in range(4):
        log.append("s", [lot(str(number))])
    log.trim("s", 3, times.now() - DAY)
    assert ids(log) == ["0", "1", "2", "3"]
    log.trim("s", 2, times.now() + DAY)
    assert ids(log, after=2) == ["2", "3"]
    with pytest.raises(NotReady, match="were copied"):
        log.read("s", 1, 10)
    with pytest.raises(NotReady, match="ends at 4"):
        log.read("s", 5, 10)
    with pytest.raises(NotReady, match="ends at 0"):
        log.read("unknown", 1, 10)
    # Ids are remembered for longer.
    assert log.append("s", [lot("0")])[0].rows == 0
    log.drop("s")
    assert (log.last("s"), log.append("s", [lot("0")])[0]) == (0, (1, log.status("s").at, 1, 0))


def test_status_counts_rows_and_refusals(open_log: OpenLog) -> None:
    log = open_log()
    assert log.status("s").rows == 0
    log.append("s", [lot("1", "2")])
    log.refuse("s", 3, "no user_id")
    log.append("s", [lot("2", "3")])
    seen = log.status("s")
    assert (seen.last, seen.rows, seen.recent, seen.refused, seen.refusal) == (2, 3, 3, 3, "no user_id")
    assert seen.newest == times.micros(AT)


def test_pushes_of_many_threads_are_committed_together(open_log: OpenLog) -> None:
    log = open_log()
    commits: list[int] = []

    class Counting(SqliteLog):
        def append(self, stream, lots):  # type: ignore[no-untyped-def]
            commits.append(len(lots))
            return log.append(stream, lots)

    counting = Counting.__new__(Counting)
    group = GroupCommit(counting)
    threads = [threading.Thread(target=lambda n=n: [group.append("s", lot(f"{n}-{i}")) for i in range(20)]) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group.close()
    assert sorted(ids(log)) == sorted(f"{n}-{i}" for n in range(16) for i in range(20))
    assert sum(commits) == 320
    assert len(commits) < 160


def test_a_replaced_or_full_file_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "push.sqlite"
    log = SqliteLog(path, 600_000, DAY)
    lots = [lot(*(f"{number}-{i}" for i in range(100))) for number in range(200)]
    with pytest.raises(OutOfResources, match="push_log_limit"):
        log.append("s", lots)
    assert log.last("s") == 0
    log.append("s", lots[:10])
    known = log.last("s")
    log.trim("s", known, times.now() + DAY)
    assert log.append("s", [lot("again")])[0].offset == known + 1
    path.rename(tmp_path / "moved")
    with pytest.raises(NotReady, match="is gone"):
        log.append("s", [lot("lost")])
    SqliteLog(path, 1 << 30, DAY).close()
    with pytest.raises(NotReady, match="replaced"):
        log.read("s", 0, 10)
    log.close()
