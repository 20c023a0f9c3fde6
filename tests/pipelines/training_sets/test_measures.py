"""Statistics of a column are the same in memory and in the engine, for any batches."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import Settings
from featurestore.compiler.point_in_time import ROW
from featurestore.engine.duck import DuckEngine
from featurestore.engine.session import Session
from featurestore.pipelines.training_sets import measures
from featurestore.pipelines.training_sets.digest import table_digest
from featurestore.pipelines.training_sets.observer import RowObserver
from tests.thorough import choose
from tests.worlds import STAMP

RANDOM = np.random.default_rng(3)
MOMENTS = st.datetimes(timezones=st.just(UTC))
KINDS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.float64(), st.floats() | st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf])),
    (pa.float32(), st.floats(width=32) | st.sampled_from([0.0, -0.0])),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.int32(), st.integers(-3, 3)),
    (STAMP, MOMENTS),
    (pa.timestamp("us"), MOMENTS.map(lambda moment: moment.replace(tzinfo=None))),
    (pa.date32(), st.dates(date(1900, 1, 1), date(2100, 1, 1))),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text("aZ€\U0001f600", max_size=3) | st.just("long" * 80)),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with DuckEngine(Settings(home=tmp_path_factory.mktemp("home"), threads=2)).session() as session:
        yield session


def by_engine(session: Session, column: pa.ChunkedArray) -> measures.Statistics:
    return measures.by_engine(session, session.add("rows", pa.table({"c": column})), "c", column.type)


@pytest.mark.parametrize("kind, values", KINDS, ids=[str(kind) for kind, _ in KINDS])
@settings(max_examples=choose(8, thorough=100), deadline=None)
@given(data=st.data())
def test_the_engine_says_the_same(session: Session, kind: pa.DataType, values: st.SearchStrategy[Any], data: st.DataObject) -> None:
    chunks = data.draw(st.lists(st.lists(st.none() | values, max_size=12), min_size=1, max_size=3))
    column = pa.chunked_array(chunks, kind)
    assert measures.in_memory(column) == by_engine(session, column)


@pytest.mark.parametrize(
    "values",
    [
        RANDOM.standard_normal(150_000),
        np.round(RANDOM.standard_normal(150_000), 2) * 1e6,
        RANDOM.integers(0, 300_000, 150_000),
        RANDOM.integers(0, 3, 150_000) * 2**40,
        RANDOM.integers(-(2**62), 2**62, 150_000),
    ],
    ids=["distinct", "repeated", "close", "far and few", "far and many"],
)
def test_each_way_of_counting_says_the_same(session: Session, values: "np.ndarray[Any, Any]") -> None:
    holes = RANDOM.random(len(values)) < 0.1
    column = pa.chunked_array([pa.array(values, mask=holes)[:70_001], pa.array(values, mask=holes)[70_001:]])
    assert measures.in_memory(column) == by_engine(session, column)


def test_a_tally_says_the_same_whether_its_rows_are_held_or_not() -> None:
    rows = 200_001
    table = pa.table({"label": RANDOM.integers(0, 2, rows), "x": RANDOM.standard_normal(rows), "d": pa.nulls(rows, pa.decimal128(9, 2))})
    schema = pa.schema([*table.schema, pa.field(ROW, pa.int64())])
    found = []
    for room in (0, table.nbytes // 2, table.nbytes):
        told: list[int] = []
        with RowObserver(table.schema, ["x", "d"], ["label", "x", "d"], None, memory=room, threads=2) as observer:
            passed = observer.number_rows(iter(table.to_batches(65_536)), schema, told.append)
            stored = pa.Table.from_batches(passed, schema)
        assert stored.drop_columns(ROW).equals(table)
        assert stored.column(ROW).to_pylist() == list(range(rows))
        assert told == [65_536, 131_072, 196_608, rows]
        found.append((observer.results(), observer.statistics()))
    (results, whole) = found[-1]
    assert [one for one, _ in found] == [results] * 3
    assert results["digest"] == table_digest(table)
    assert results["nulls"] == {"x": 0, "d": rows}
    assert [measured for _, measured in found[:2]] == [{}, {}]
    assert whole == {name: measures.in_memory(table.column(name)) for name in ("label", "x")}, "decimals are left to the engine"


def test_a_failure_while_rows_are_passed_on_ends_the_threads() -> None:
    table = pa.table({"x": RANDOM.standard_normal(1_000_000)})

    def failing() -> Any:
        yield from table.to_batches(65_536)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), RowObserver(table.schema, ["x"], ["x"], None, memory=1 << 20, threads=1) as observer:
        list(observer.number_rows(failing(), pa.schema([*table.schema, pa.field(ROW, pa.int64())]), None))
    with pytest.raises(RuntimeError, match="after shutdown"):
        list(observer.number_rows(iter(table.to_batches()), table.schema, None))


@pytest.mark.parametrize("kind", [pa.timestamp("us", "UTC"), pa.date32()])
def test_the_ends_of_the_calendar_have_statistics(session: Session, kind: pa.DataType) -> None:
    """As doubles, the last microseconds of the year 9999 are in the year 10000."""
    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    ends = {first: "0001-01-01T00:00:00.000000Z", last: "9999-12-31T23:59:59.999999Z"}
    cut = 10 if pa.types.is_date(kind) else None
    for values in ([first, last], [last, None], [last, datetime(2026, 1, 1, tzinfo=UTC), first], [last, last - timedelta(microseconds=1)]):
        moments = [value for value in values if value is not None]
        column = pa.chunked_array([pa.array([value if cut is None or value is None else value.date() for value in values], kind)])
        measured = measures.in_memory(column)
        assert measured == by_engine(session, column)
        low, high = (ends.get(end, f"{end:%Y-%m-%dT%H:%M:%S.%fZ}")[:cut] for end in (min(moments), max(moments)))
        assert (measured["min"], measured["max"]) == (low, high)
        assert (measured["histogram"]["edges"][0], measured["histogram"]["edges"][-1]) == (low, high)
