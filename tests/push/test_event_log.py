"""Every log of pushed events keeps what it acknowledged, counts an id once, and notices that it lost something."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import redis
from sqlalchemy import create_engine, text

from featurestore import Settings
from featurestore.errors import NotReady, OutOfResources
from featurestore.push.event_log import Acknowledged, EventLog
from featurestore.push.factory import open_event_log
from featurestore.push.group_commit import GroupCommit
from featurestore.push.lot import Lot, make_lot
from featurestore.push.sqlite_log import SqliteLog
from featurestore.values import times
from tests.online.redis.redis_server import redis_server
from tests.push.logs import log_address

AT = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400_000_000
OpenLog = Callable[[], EventLog]


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenLog]:
    with log_address(request.param, tmp_path) as address:
        opened: list[EventLog] = []

        def open_one() -> EventLog:
            opened.append(open_event_log(Settings(home=tmp_path, push_log=address, push_remembers="1d")))
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
    assert log.last("s") == 0
    again = log.append("s", [lot("0")])[0]
    assert (again.offset, again.rows, again.known) == (1, 1, 0)


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

    class Counting:
        def append(self, stream: str, lots: list[Lot]) -> list[Acknowledged]:
            commits.append(len(lots))
            return log.append(stream, lots)

    group = GroupCommit(Counting())  # type: ignore[arg-type]
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


def test_an_emptied_log_takes_nothing(tmp_path: Path) -> None:
    with log_address("postgresql", tmp_path) as address:
        log = open_event_log(Settings(home=tmp_path, push_log=address))
        log.append("s", [lot("1")])
        with create_engine(address).begin() as connection:
            connection.execute(text("DELETE FROM featurestore_push_log"))
        with pytest.raises(NotReady, match="emptied, or replaced"):
            log.append("s", [lot("2")])
        log.close()
    with log_address("redis", tmp_path) as address:
        log = open_event_log(Settings(home=tmp_path, push_log=address))
        log.append("s", [lot("1")])
        with redis.Redis.from_url(address) as client:
            client.flushall()
        for use in (lambda: log.append("s", [lot("2")]), lambda: log.read("s", 1, 1), lambda: log.last("s")):
            with pytest.raises(NotReady, match="emptied, or replaced"):
                use()
        log.close()


def test_a_redis_that_forgets_is_refused(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, pytest.raises(NotReady, match="set appendonly yes, appendfsync always in its configuration"):
        open_event_log(Settings(home=tmp_path, push_log=f"redis://{server}/0"))


def test_a_full_log_takes_nothing(tmp_path: Path) -> None:
    for kind in ("postgresql", "redis"):
        with log_address(kind, tmp_path) as address:
            log = open_event_log(Settings(home=tmp_path, push_log=address, push_log_limit="3KB"))
            for number in range(4):
                log.append("s", [lot(f"{number}")])
            with pytest.raises(OutOfResources, match="push_log_limit"):
                log.append("s", [lot(*(f"more {number}" for number in range(100)))])
            log.trim("s", 4, times.now() + DAY)
            assert log.append("s", [lot("again")])[0].offset == 5
            log.close()
