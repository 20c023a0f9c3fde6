"""Several Parquet files as one source: each column gets a type that represents all values exactly, or an error names both files."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.errors import DefinitionError, FeatureStoreError, RequestError, TypeMismatch
from tests.sources.reading import Reading, reading
from tests.worlds import STAMP

T = datetime(2026, 3, 1, 12, tzinfo=UTC)


def naive(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0, micros: int = 0) -> datetime:
    return datetime.combine(date(year, month, day), clock_time(hour, minute, second, micros))


US, NS = pa.timestamp("us"), pa.timestamp("ns")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reading]:
    with reading(tmp_path_factory.mktemp("home")) as opened:
        yield opened


def put(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


FITTING: list[tuple[str, pa.Array, pa.Array, str, list[Any]]] = [
    ("int", pa.array([1], pa.int8()), pa.array([2**40], pa.int64()), "BIGINT", [1, 2**40]),
    ("back", pa.array([2**40], pa.int64()), pa.array([1], pa.int8()), "BIGINT", [2**40, 1]),
    ("unsigned", pa.array([200], pa.uint8()), pa.array([-5], pa.int8()), "SMALLINT", [200, -5]),
    ("uint32", pa.array([2**32 - 1], pa.uint32()), pa.array([-1], pa.int32()), "BIGINT", [2**32 - 1, -1]),
    ("floats", pa.array([1.5], pa.float32()), pa.array([0.1], pa.float64()), "DOUBLE", [1.5, 0.1]),
    ("decimals", pa.array([Decimal("1.5")], pa.decimal128(3, 1)), pa.array([Decimal("2.25")], pa.decimal128(9, 2)), "DECIMAL(9,2)",
     [Decimal("1.50"), Decimal("2.25")]),
    ("null", pa.nulls(1), pa.array(["x"]), "VARCHAR", [None, "x"]),
    ("null date", pa.array([date(2026, 1, 1)]), pa.nulls(1), "DATE", [date(2026, 1, 1), None]),
    ("dictionary", pa.array(["a"]).dictionary_encode(), pa.array(["b"], pa.large_string()), "VARCHAR", ["a", "b"]),
    ("units", pa.array([1_772_366_400_000], pa.timestamp("ms")), pa.array([-1], NS), "TIMESTAMP",
     [naive(2026, 3, 1, 12), naive(1969, 12, 31, 23, 59, 59, 999999)]),
    ("zones", pa.array([0], pa.timestamp("us", "UTC")), pa.array([1000], pa.timestamp("ns", "Asia/Tokyo")), "TIMESTAMP WITH TIME ZONE",
     [datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)]),
    ("list", pa.array([[1]], pa.list_(pa.int32())), pa.array([[2**40]], pa.list_(pa.int64())), "BIGINT[]", [[1], [2**40]]),
    ("struct", pa.array([{"a": 1}], pa.struct([("a", pa.int32())])), pa.array([{"a": 2**40}], pa.struct([("a", pa.int64())])),
     'STRUCT(a BIGINT)', [{"a": 1}, {"a": 2**40}]),
]  # fmt: skip


@pytest.mark.parametrize("one, other, kind, values", [case[1:] for case in FITTING], ids=[case[0] for case in FITTING])
def test_columns_are_widened_where_nothing_is_lost(
    files: Reading, tmp_path: Path, one: pa.Array, other: pa.Array, kind: str, values: list[Any]
) -> None:
    put(tmp_path / "1.parquet", x=one)
    put(tmp_path / "2.parquet", x=other)
    assert files.types(tmp_path / "*.parquet") == {"x": kind}
    assert files.rows(tmp_path / "*.parquet") == [(value,) for value in values]


@pytest.mark.parametrize(
    "one, other",
    [
        (pa.array([date(2026, 1, 1)]), pa.array([T], STAMP)),
        (pa.array([date(2026, 1, 1)]), pa.array([T.replace(tzinfo=None)], US)),
        (pa.array([1], pa.int64()), pa.array([1.5])),
        (pa.array([1.5], pa.float32()), pa.array([2**24 + 1], pa.int32())),
        (pa.array(["007"]), pa.array([7])),
        (pa.array([1], pa.int64()), pa.array([2**63], pa.uint64())),
        (pa.array([Decimal(1)], pa.decimal128(38, 0)), pa.array([Decimal("0.1")], pa.decimal128(38, 1))),
        (pa.array([Decimal(1)], pa.decimal128(9, 0)), pa.array([1])),
        (pa.array([T], STAMP), pa.array([T.replace(tzinfo=None)], US)),
        (pa.array([True]), pa.array([1])),
        (pa.array([b"x"]), pa.array(["x"])),
        (pa.array([[1]]), pa.array([[1.5]])),
        (pa.array([{"a": 1}]), pa.array([{"b": 1}])),
        (pa.array([1]), pa.array([[1]])),
    ],
    ids=lambda array: str(array.type),
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_does_not_go_together_is_refused_with_both_files(
    files: Reading, tmp_path: Path, one: pa.Array, other: pa.Array, turned: bool
) -> None:
    first, second = (other, one) if turned else (one, other)
    put(tmp_path / "1.parquet", y=[1], x=first)
    put(tmp_path / "2.parquet", y=[1], x=second)
    with pytest.raises(TypeMismatch) as raised:
        files.open(tmp_path / "*.parquet")
    message = str(raised.value)
    assert all(
        text in message
        for text in ("'x'", "1.parquet", "2.parquet", *(str(kind).replace("item", "element") for kind in (first.type, second.type)))
    ), message


@pytest.mark.parametrize(
    "column",
    [
        pa.array([Decimal("1234567890123456789012345678901234567890.12")], pa.decimal256(50, 2)),
        pa.array([None], pa.decimal256(39, 0)),
        pa.array([[Decimal("0.5")]], pa.list_(pa.decimal256(50, 2))),
        pa.array([{"a": Decimal("0.5")}], pa.struct([("a", pa.decimal256(50, 2))])),
    ],
    ids=lambda array: str(array.type),
)
def test_decimals_beyond_38_digits_are_refused_and_not_read_as_doubles(files: Reading, tmp_path: Path, column: pa.Array) -> None:
    put(tmp_path / "1.parquet", k=[1])
    put(tmp_path / "2.parquet", k=[2], x=column)
    with pytest.raises(TypeMismatch, match=r"column 'x' is .*decimal256\(.*2\.parquet, and a decimal has at most 38 digits"):
        files.open(tmp_path / "*.parquet")


def test_the_longest_decimals_are_read_with_all_digits(files: Reading, tmp_path: Path) -> None:
    values = [Decimal(12345678901234567890123456789012345678), Decimal(-1)]
    put(tmp_path / "1.parquet", x=pa.array(values, pa.decimal256(38, 0)))
    assert files.types(tmp_path / "1.parquet") == {"x": "DECIMAL(38,0)"}
    assert files.rows(tmp_path / "1.parquet") == [(value,) for value in values]


def test_columns_go_by_name_and_are_null_where_a_file_has_none(files: Reading, tmp_path: Path) -> None:
    put(tmp_path / "1.parquet", k=[1], Amount=[1.5])
    put(tmp_path / "2.parquet", amount=[2.5], k=[2], note=["n"])
    put(tmp_path / "3.parquet", note=["m"], k=[3])
    rows = files.rows(tmp_path / "*.parquet")
    assert sorted(rows) == [(1, 1.5, None), (2, 2.5, "n"), (3, None, "m")]
    assert list(files.types(tmp_path / "*.parquet")) == ["k", "Amount", "note"]


def test_folders_are_columns_and_a_files_own_column_wins(files: Reading, tmp_path: Path) -> None:
    put(tmp_path / "year=2025" / "land=a b%2Fc" / "1.parquet", k=[1])
    put(tmp_path / "year=2026" / "land=__HIVE_DEFAULT_PARTITION__" / "2.parquet", k=[2])
    put(tmp_path / "year=2026" / "land=z" / "3.parquet", k=[3], year=[1999])
    assert sorted(files.rows(tmp_path / "**" / "*.parquet")) == [(1, 2025, "a b/c"), (2, 2026, None), (3, 1999, "z")]
    assert files.types(tmp_path / "**" / "*.parquet") == {"k": "BIGINT", "year": "BIGINT", "land": "VARCHAR"}
    put(tmp_path / "days" / "d=2026-01-02" / "4.parquet", k=[4])
    assert files.types(tmp_path / "days" / "*" / "*.parquet") == {"k": "BIGINT", "d": "DATE"}
    put(tmp_path / "codes" / "c=07" / "5.parquet", k=[5])
    put(tmp_path / "codes" / "c=7" / "6.parquet", k=[6])
    assert sorted(files.rows(tmp_path / "codes" / "*" / "*.parquet")) == [(5, "07"), (6, "7")]


def test_odd_files(files: Reading, tmp_path: Path) -> None:
    put(tmp_path / "x[1]" / "a*.parquet", k=[1])
    put(tmp_path / "x[1]" / "ab.parquet", k=[2])
    assert files.rows(tmp_path / "x[1]" / "*.parquet") == [(1,), (2,)]
    assert files.rows(tmp_path / "x[1]" / "a*.parquet") == [(1,)]
    with pq.ParquetWriter(tmp_path / "none.parquet", pa.schema([("k", pa.int64())])):
        pass
    assert pq.read_metadata(tmp_path / "none.parquet").num_row_groups == 0
    assert files.rows(tmp_path / "none.parquet") == []
    stamp = pa.table({"t": pa.array([1_772_366_400_000_000_999], NS)})
    pq.write_table(stamp, tmp_path / "i96.parquet", use_deprecated_int96_timestamps=True)
    assert files.rows(tmp_path / "i96.parquet") == [(naive(2026, 3, 1, 12),)]


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "0 bytes"),
        (b"k,t\n1,2\n", "does not end as Parquet"),
        (b"PAR1" + b"\xff" * 40 + b"PAR1", "footer"),
        (b"PAR1" + b"x" * 20 + b"PARE", "encrypted"),
    ],
)
def test_what_is_no_parquet_is_named(files: Reading, tmp_path: Path, content: bytes, said: str) -> None:
    put(tmp_path / "1.parquet", k=[1])
    (tmp_path / "2.parquet").write_bytes(content)
    with pytest.raises(RequestError, match=f"2.parquet cannot be read as Parquet.*{said}"):
        files.open(tmp_path / "*.parquet")


def test_a_column_twice_is_refused(files: Reading, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["k", "K"]), tmp_path / "1.parquet")
    with pytest.raises(RequestError, match=r"1.parquet has two columns called 'k' and 'K'"):
        files.open(tmp_path / "1.parquet")


def view(path: object, **more: Any) -> FeatureService:
    source = Source("f", path=str(path), timestamp="t", **more)
    return FeatureService("s", features=[FeatureView("v", entity=Entity("e", keys="k"), source=source, features=["x"])])


def test_a_file_without_the_time_or_a_key_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "d" / "1.parquet", k=[1], t=pa.array([T], STAMP), x=[1])
    store = FeatureStore(home=tmp_path / "home")
    for missing in ("t", "k"):
        columns = {"k": [1], "t": pa.array([T], STAMP), "x": [1]}
        put(tmp_path / "d" / "2.parquet", **{name: column for name, column in columns.items() if name != missing})
        with pytest.raises(DefinitionError, match=f"2.parquet has no column '{missing}'"):
            store.apply([view(tmp_path / "d" / "*.parquet")])


@pytest.mark.slow
def test_a_file_with_another_type_stops_a_later_run_and_leaves_all_as_it_was(tmp_path: Path) -> None:
    put(tmp_path / "d" / "1.parquet", k=[1], t=pa.array([T], STAMP), x=[1])
    store = FeatureStore(home=tmp_path / "home")
    store.apply([view(tmp_path / "d" / "*.parquet")])
    store.materialize()
    put(tmp_path / "d" / "2.parquet", k=[1], t=pa.array([T + timedelta(hours=1)], STAMP), x=[1.5])
    with pytest.raises(TypeMismatch, match=r"view v: source f: column 'x' is int64 in .*1.parquet and double in .*2.parquet"):
        store.materialize()
    assert store.online_features("s", [{"k": 1}]).rows == ((1,),)
    # Replaced by one of the same size and time that fits, it is read.
    put(tmp_path / "d" / "2.parquet", k=[1], t=pa.array([T + timedelta(hours=1)], STAMP), x=[7])
    os.utime(tmp_path / "d" / "2.parquet", ns=(5, 5))
    store.materialize()
    put(tmp_path / "d" / "2.parquet", k=[1], t=pa.array([T + timedelta(hours=1)], STAMP), x=[8])
    os.utime(tmp_path / "d" / "2.parquet", ns=(5, 5))
    assert store.materialize()[0].corrections == 1
    assert store.online_features("s", [{"k": 1}]).rows == ((8,),)


def test_spines_go_by_the_same_rules(tmp_path: Path) -> None:
    put(tmp_path / "d" / "1.parquet", k=[1], t=pa.array([T], STAMP), x=[1])
    store = FeatureStore(home=tmp_path / "home")
    store.apply([view(tmp_path / "d" / "1.parquet")])
    store.materialize()
    put(tmp_path / "a" / "1.parquet", k=pa.array([1], pa.int32()), now=pa.array([T], STAMP), note=["a"])
    put(tmp_path / "a" / "2.parquet", now=pa.array([T - timedelta(hours=1)], pa.timestamp("ns", "Asia/Tokyo")), k=[1])
    put(tmp_path / "a" / ".3.parquet", k=[1], now=pa.array([T], STAMP))
    rows = store.point_in_time("s", str(tmp_path / "a" / "*.parquet"), "now").to_pylist()
    assert [(row["now"], row["note"], row["x"]) for row in rows] == [(T, "a", 1), (T - timedelta(hours=1), None, None)]
    put(tmp_path / "a" / "4.parquet", k=[1], now=pa.array([date(2026, 3, 2)]))
    with pytest.raises(TypeMismatch, match=r"column 'now' is timestamp.* in .*1.parquet and date32.* in .*4.parquet"):
        store.point_in_time("s", str(tmp_path / "a" / "*.parquet"), "now")
    put(tmp_path / "h" / "k=1" / "1.parquet", now=pa.array([T], STAMP))
    assert store.point_in_time("s", str(tmp_path / "h" / "*" / "*.parquet"), "now").to_pylist() == [{"now": T, "k": 1, "x": 1}]


@pytest.mark.slow
def test_two_thousand_files_are_planned_in_seconds(tmp_path: Path) -> None:
    for number in range(2000):
        day = pa.array([T - timedelta(days=number)], STAMP)
        put(tmp_path / "d" / f"{number:04}.parquet", k=[number], t=day, x=pa.array([1], pa.int32() if number % 2 else pa.int64()))
    store = FeatureStore(home=tmp_path / "home")
    service = view(tmp_path / "d" / "*.parquet")
    store.views()
    began = time.process_time()
    plan = store.plan([service])
    assert time.process_time() - began < 5
    assert plan.reads.rows == 2000
    store.apply(plan)
    assert store.materialize()[0].rows_appended == 2000


def test_errors_are_the_stores_own(files: Reading, tmp_path: Path) -> None:
    put(tmp_path / "1.parquet", k=[1])
    (tmp_path / "2.csv").write_text("k\n1\n")
    with pytest.raises(FeatureStoreError, match=r"2.csv is CSV and .*1.parquet is not"):
        files.open(tmp_path / "*")


@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_file_that_changes_while_it_is_read_ends_the_run(tmp_path: Path, change: str) -> None:
    path = tmp_path / "d" / "1.parquet"
    put(path, k=[1], t=pa.array([T], STAMP), x=[1])
    put(tmp_path / "d" / "2.parquet", k=[2], t=pa.array([T], STAMP), x=[1])
    store = FeatureStore(home=tmp_path / "home")
    store.apply([view(tmp_path / "d" / "*.parquet")])

    def interfere(told: Any) -> None:
        if told.stage == "compute" and path.exists():
            if change == "removed":
                path.unlink()
            else:
                put(path, k=[1], t=pa.array([T], STAMP), x=[9])

    with pytest.raises(RequestError, match=r"1.parquet.*(removed|changed).*run again|1.parquet.*Run again"):
        store.materialize(progress=interfere)
    assert store.views()[0]["materialized_through"] is None
    put(path, k=[1], t=pa.array([T], STAMP), x=[2])
    store.materialize()
    assert store.online_features("s", [{"k": 1}]).rows == ((2,),)
