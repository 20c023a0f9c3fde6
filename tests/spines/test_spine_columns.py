"""Other columns of a spine are unchanged in a training set and its rebuild, or are refused by name."""

import uuid
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from featurestore import FeatureStore, Settings
from featurestore.errors import TypeMismatch
from featurestore.pipelines.training_sets.digest import table_digest
from tests.pipelines.training_sets import builders

WORDS = ["", "ä\0b", None, "x" * 1000, "'"]
LISTS = [[1], None, [], [None, 2], [3]]
EARLY, LATE = datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2262, 1, 1)  # noqa: DTZ001
SAME = {
    "bool": pa.array([True, None, False, True, None]),
    "int8": pa.array([1, None, -128, 127, 0], pa.int8()),
    "uint32": pa.array([1, None, 2**32 - 1, 127, 0], pa.uint32()),
    "float16": pa.array([1, None, 2.5, float("nan"), 0], pa.float16()),
    "float": pa.array([1, None, 0.1, float("nan"), -0.0], pa.float32()),
    "double": pa.array([1, None, 0.1, float("inf"), -0.0]),
    "decimal": pa.array([Decimal("1.1"), None, Decimal("-99999999.99"), None, Decimal(0)], pa.decimal128(38, 10)),
    "small decimal": pa.array([Decimal("1.1"), None, Decimal("-99999.99"), None, Decimal(0)], pa.decimal32(9, 2)),
    "wide decimal": pa.array([Decimal("1.1"), None, Decimal("-99999.99"), None, Decimal(0)], pa.decimal256(30, 2)),
    "text": pa.array(WORDS, pa.large_string()),
    "text view": pa.array(WORDS, pa.string_view()),
    "bytes": pa.array([b"", b"\0", None, b"\xff", b"1"], pa.binary_view()),
    "two bytes": pa.array([b"ab", b"\0\0", None, b"\xff1", b"12"], pa.binary(2)),
    "date": pa.array([date(1, 1, 1), None, date(9999, 12, 31), date(1969, 12, 31), date(2020, 2, 29)]),
    "time": pa.array([0, None, 1, 2, 86399], pa.time32("s")),
    "moment": pa.array([EARLY, None, LATE, EARLY, LATE], pa.timestamp("us")),
    "dictionary": pa.array(["a", None, "b", "a", "b"]).dictionary_encode(),
    "runs": pa.RunEndEncodedArray.from_arrays([2, 5], ["a", "b"]),
    "list": pa.array(LISTS, pa.list_(pa.int8())),
    "large list": pa.array(LISTS, pa.large_list(pa.uint32())),
    "pair": pa.array([[1.5, 2.0], None, [3.0, 4.0], [None, 2.0], [3.0, 1.0]], pa.list_(pa.float32(), 2)),
    "list of texts": pa.array([["a"], None, [], [None, "b"], ["c"]], pa.list_(pa.large_string())),
    "list of lists": pa.array([[["a"]], None, [], [None, ["b"]], [["c"]]]),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 2, "b": None}, {"a": 3, "b": ""}]),
    "list of structs": pa.array([[{"a": 1}], [], [{"a": 3}, None], [None], [{"a": None}]]),
}
"""Columns, and what comes back from them where that is something else to Python."""
OTHERS: dict[str, tuple[pa.Array, list[Any]]] = {
    "uint64": (pa.array([1, None, 2**64 - 1, 127, 0], pa.uint64()), [Decimal(1), None, Decimal(2**64 - 1), Decimal(127), Decimal(0)]),
    "moment elsewhere": (pa.array([0, None, -1, 2, 5], pa.timestamp("s", tz="Europe/Berlin")), [0, None, -1_000_000, 2_000_000, 5_000_000]),
    "nothing": (pa.nulls(5), [None] * 5),
    "uuid": (pa.array([uuid.UUID(int=1).bytes] * 5, pa.binary(16)).cast(pa.uuid()), [str(uuid.UUID(int=1))] * 5),
    "nanoseconds": (pa.array([-1, None, 2999, 0, 1000], pa.timestamp("ns")).cast(pa.timestamp("ns")), [-1, None, 2, 0, 1]),
    "time in nanoseconds": (
        pa.array([0, None, 2999, 0, 1000], pa.time64("ns")),
        [time(0), None, time(microsecond=2), time(0), time(microsecond=1)],
    ),
    "list of nanoseconds": (pa.array([[0], None, [], [None, 2999], [3]], pa.list_(pa.timestamp("ns"))), [[0], None, [], [None, 2], [0]]),
}
REFUSED = {
    "a map": pa.array([[("a", 1)], None, [], [("b", 2)], []], pa.map_(pa.string(), pa.int64())),
    "a duration": pa.array([0, None, 1, 2, 3], pa.duration("us")),
    "a list of durations": pa.array([[0], None, [], [1], [2]], pa.list_(pa.duration("us"))),
    "a list view": pa.array(LISTS, pa.list_view(pa.int64())),
    "a struct of nothing": pa.array([{}] * 5, pa.struct([])),
    "a NULL list of structs": pa.array([[{"a": 1}], None, [], [None], [{"a": None}]]),
    "a struct of lists of structs": pa.array([{"l": [{"a": 1}]}] * 5),
    "a decimal beyond all": pa.array([Decimal("1.1")] * 5, pa.decimal256(40, 2)),
    "a moment beyond microseconds": pa.array([10**15] * 5, pa.timestamp("s")),
    "moments beyond microseconds": pa.array([[10**15]] * 5, pa.list_(pa.timestamp("s"))),
    "a moment of the year 10000": pa.array([0, None, 253_402_300_800, 0, 0], pa.timestamp("s", tz="UTC")),
    "a moment before the year 1": pa.array([0, None, -62_135_596_800_000_001, 0, 0], pa.timestamp("us")),
    "a day of the year 10000": pa.array([0, None, 2_932_897, 0, 0], pa.int32()).cast(pa.date32()),
    "lists of days of the year 10000": pa.array([[0], None, [0, 2_932_897], [], [None]], pa.list_(pa.int32())).cast(pa.list_(pa.date32())),
    "a moment without end in a struct": pa.StructArray.from_arrays([pa.array([0, None, 2**63 - 1, 0, 0], pa.timestamp("us"))], ["a"]),
    "39 digits": pa.Array.from_buffers(pa.decimal128(38, 0), 5, [None, pa.py_buffer((10**38).to_bytes(16, "little") * 5)]),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    settings = Settings(home=tmp_path_factory.mktemp("store"))
    builders.world(settings)
    return FeatureStore(settings=settings)


def plain(column: pa.ChunkedArray) -> list[Any]:
    """Values of Python's; moments as microseconds."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return list(column.cast(pa.int64()).to_pylist())
    nested = pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type)
    return list((column.cast(pa.list_(pa.int64())) if nested else column).to_pylist())


@pytest.mark.slow
def test_columns_of_every_type_come_back(store: FeatureStore) -> None:
    spine = builders.spine(5)
    columns = {**SAME, **{name: column for name, (column, _) in OTHERS.items()}}
    for name, column in columns.items():
        spine = spine.append_column(name, column)
    made = store.training_set("service", spine, "t", label="uint64")
    rows = made.to_arrow()
    for name, column in SAME.items():
        assert repr(rows[name].to_pylist()) == repr(column.to_pylist()), name
    assert {name: plain(rows[name]) for name in OTHERS} == {name: expected for name, (_, expected) in OTHERS.items()}
    assert table_digest(rows) == made.digest
    assert store.rebuild(made.id).digest == made.digest
    assert store.training_set("service", spine.slice(1), "t").digest != made.digest
    assert store.training_set("service", pa.concat_tables([spine.slice(0, 2), spine.slice(2)]), "t", label="uint64").id == made.id


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_is_refused_by_name(store: FeatureStore, name: str) -> None:
    with pytest.raises(TypeMismatch, match="'it'"):
        store.training_set("service", builders.spine(5).append_column("it", REFUSED[name]), "t")
