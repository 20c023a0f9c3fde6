"""Sessions of the engine are isolated, also brief ones, which share an open database."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import Settings
from featurestore.compiler.query import text_query
from featurestore.engine.duck import DuckEngine, DuckSession
from featurestore.engine.evaluator import KNOWN_QUERIES, Evaluator
from featurestore.engine.memory import memory_session
from featurestore.errors import RequestError, TypeMismatch

Open = Callable[[DuckEngine], AbstractContextManager[DuckSession]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DuckEngine]:
    engine = DuckEngine(Settings(home=tmp_path / "home"))
    yield engine
    engine.close()


@pytest.fixture(params=[DuckEngine.session, DuckEngine.brief])
def opened(request: pytest.FixtureRequest) -> Open:
    found: Open = request.param
    return found


def value(session: DuckSession, sql: str) -> object:
    return session.batches(text_query(f"SELECT {sql}")).read_all().columns[0][0].as_py()


def test_nothing_of_a_session_is_seen_in_another(engine: DuckEngine, opened: Open) -> None:
    with opened(engine) as one:
        one.add("rows", pa.table({"a": [1, 2]}))
        one.create_table("kept", text_query("SELECT * FROM rows"))
        assert value(one, "sum(a) FROM kept") == 3
        with opened(engine) as other:
            for name in ("rows", "rows__arrow", "kept"):
                with pytest.raises(RequestError):
                    other.schema(text_query(f"SELECT * FROM {name}"))
            other.create_table("kept", text_query("SELECT 9 AS a"))
        assert value(one, "sum(a) FROM kept") == 3
    with opened(engine) as later, pytest.raises(RequestError):
        later.schema(text_query("SELECT * FROM kept"))


def test_a_cleared_session_has_nothing_and_can_be_filled_again(engine: DuckEngine, opened: Open) -> None:
    with opened(engine) as one, opened(engine) as other:
        other.create_table("kept", text_query("SELECT 9 AS a"))
        for number in range(2):
            one.add("rows", pa.table({"a": [number]}))
            one.add('a "name"', pa.table({"a": [number]}).to_reader())
            one.create_view("seen", text_query("SELECT * FROM rows"))
            # What was a table may be a view the next time.
            (one.create_table, one.create_view)[number]("kept", text_query("SELECT * FROM seen"))
            assert value(one, "sum(a) FROM kept") == number
            one.clear()
            for name in ("rows", "rows__arrow", '"a ""name"""', "seen", "kept"):
                with pytest.raises(RequestError):
                    one.schema(text_query(f"SELECT * FROM {name}"))
        assert value(other, "sum(a) FROM kept") == 9


@pytest.mark.parametrize(
    "sql,what",
    [
        ("340282366920938463463374607431768211455", r"UHUGEINT.*DECIMAL\(38,0\)"),
        ("1::UHUGEINT", "UHUGEINT"),
        ("340282366920938463463374607431768211456", "BIGNUM"),
        ("'101'::BIT", "BIT.*VARCHAR"),
        ("TIMETZ '10:00:00+02'", "TIME WITH TIME ZONE"),
        ("{'a': [['101'::BIT]]}", "BIT"),
        ("map {1: TIMETZ '10:00:00+02'}", "TIME WITH TIME ZONE"),
        ("['1'::BIT]::BIT[1]", "BIT"),
    ],
)
def test_what_would_arrive_as_something_else_is_refused_by_its_name(engine: DuckEngine, opened: Open, sql: str, what: str) -> None:
    with opened(engine) as session, pytest.raises(TypeMismatch, match=rf"column 'x' holds {what}") as caught:
        session.batches(text_query(f"SELECT 1 AS fine, {sql} AS x"))
    assert caught.value.details == {"field": "x"}


def test_its_neighbors_arrive_as_they_are(engine: DuckEngine, opened: Open) -> None:
    with opened(engine) as session:
        assert value(session, "-170141183460469231731687303715884105727::HUGEINT") == -(2**127) + 1
        assert value(session, "{'BIT': 1, 'b': '101'::BIT::VARCHAR}") == {"BIT": 1, "b": "101"}


@pytest.fixture(params=["Asia/Tokyo", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's time zone is another one."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


UTC_TEXT = "CAST(make_timestamptz(1000000) AS VARCHAR)"


def test_times_are_utc(zone: str, engine: DuckEngine, opened: Open) -> None:
    with opened(engine) as session:
        assert value(session, "CAST(TIMESTAMP '1970-01-01 00:00:01' AS TIMESTAMPTZ) = make_timestamptz(1000000)") is True
        assert value(session, UTC_TEXT) == "1970-01-01 00:00:01+00"


def test_times_are_utc_where_values_are_computed(zone: str, engine: DuckEngine) -> None:
    with memory_session() as session:
        assert value(session, UTC_TEXT) == "1970-01-01 00:00:01+00"
    at = {"moment": ("TIMESTAMP WITH TIME ZONE", [datetime(2026, 3, 9, 23, 30, tzinfo=UTC)])}
    found: list[object] = []
    for _ in range(2):
        # Each thread has a cursor of its own.
        thread = threading.Thread(target=lambda: found.append(engine.evaluator.evaluate([UTC_TEXT, "hour(moment)"], at)))
        thread.start()
        thread.join()
    assert found == [[["1970-01-01 00:00:01+00"], [23]]] * 2


def test_an_engine_that_was_closed_opens_anew(engine: DuckEngine, opened: Open) -> None:
    for _ in range(2):
        with opened(engine) as session:
            assert value(session, "1") == 1
        engine.close()


def test_what_shares_a_database_sees_nothing_of_one_another(engine: DuckEngine, tmp_path: Path) -> None:
    other = DuckEngine(Settings(home=tmp_path / "other"))
    for opened, again in ((engine.brief, other.brief), (memory_session, memory_session)):
        with opened() as session:
            session.create_table("mine", text_query("SELECT 1 AS x"))
            session.add("rows", pa.table({"x": [1]}))
            for name in ("mine", "rows", "rows__arrow"):
                assert value(session, f"count(*) FROM {name}") == 1
                with again() as beside, pytest.raises(RequestError, match=name):
                    value(beside, f"* FROM {name}")
        with again() as after:
            assert value(after, "count(*) FROM duckdb_tables()") == value(after, "count(*) FROM duckdb_views() WHERE NOT internal") == 0
    assert engine.evaluator.evaluate(["1"], {}) == other.evaluator.evaluate(["1"], {})
    other.close()
    assert engine.evaluator.evaluate(["2"], {}) == [[2]]


def test_an_evaluator_remembers_the_types_of_few_queries() -> None:
    evaluator = Evaluator("1GB")
    for number in range(KNOWN_QUERIES + 5):
        assert evaluator.types_of([f"{number}.5"], {}) == (f"DECIMAL({len(str(number)) + 1},1)",)
    assert len(evaluator._queries) == 5
    evaluator.close()
