"""Splits: the part of a row depends only on its key or time."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.errors import NotFound, RequestError
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 2000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    store = FeatureStore(home=tmp_path_factory.mktemp("home"))
    rows = pa.table({"id": pa.array(range(50), pa.int64()), "at": pa.array([T] * 50, STAMP), "x": [float(key) for key in range(50)]})
    load_source(store, "shop.people", rows)
    source = Source("s", table="shop.people", timestamp="at")
    view = FeatureView("people", entity=Entity("person", keys="id"), source=source, features=["x"])
    store.apply([FeatureService("people", features=[view])])
    store.materialize()
    return store


def spine(rows: int = ROWS) -> pa.Table:
    ids = [None if row % 500 == 499 else row % 1000 for row in range(rows)]
    texts = [f"g{row % 7}" for row in range(rows)]
    moments = [None if row == 5 else T + timedelta(hours=row) for row in range(rows)]
    return pa.table({"id": pa.array(ids, pa.int64()), "group": texts, "t": pa.array(moments, STAMP)})


def build(store: FeatureStore, split: Any, by: Any = None, rows: int = ROWS) -> Any:
    return store.training_set("people", spine(rows), "t", split=split, by=by)


def expected_part(texts: list[str | None], shares: list[tuple[str, float]]) -> str:
    """The documented formula in plain Python."""
    content = "\x1f".join("\x00" if text is None else text for text in texts).encode()
    place = int.from_bytes(hashlib.md5(content, usedforsecurity=False).digest()[8:], "little") / 2**64
    for name, share in shares:
        if place < share:
            return name
        place -= share
    return shares[-1][0]


@pytest.mark.parametrize("by", [None, "group", ("id", "group")])
def test_equal_keys_are_in_one_part_which_the_formula_tells(store: FeatureStore, by: Any) -> None:
    shares = {"train": 0.7, "valid": 0.1, "test": 0.2}
    made = build(store, shares, by)
    columns = ["id"] if by is None else [by] if isinstance(by, str) else list(by)
    rows_by_part = {part: made.split(part).to_arrow().drop_columns("x").to_pylist() for part in shares}
    assert sum(map(len, rows_by_part.values())) == ROWS
    for part, rows in rows_by_part.items():
        keys = [[None if row[column] is None else str(row[column]) for column in columns] for row in rows]
        assert {expected_part(key, list(shares.items())) for key in keys} <= {part}
        assert made.manifest["split"]["rows"][part] == len(rows)
    if by is None:
        assert 0.6 < len(rows_by_part["train"]) / ROWS < 0.8


def test_a_key_stays_in_its_part_when_rows_come(store: FeatureStore) -> None:
    fewer, more = (build(store, {"train": 0.5, "test": 0.5}, rows=rows) for rows in (700, ROWS))
    assert set(fewer.split("train").to_arrow()["id"].to_pylist()) <= set(more.split("train").to_arrow()["id"].to_pylist())


def test_times_end_parts(store: FeatureStore) -> None:
    made = build(store, {"train": "2026-03-02", "test": T + timedelta(days=2)})
    train, test = (made.split(part).to_arrow()["t"].to_pylist() for part in ("train", "test"))
    assert (max(train), min(test), max(test)) == (T + timedelta(hours=23), T + timedelta(hours=24), T + timedelta(hours=47))
    assert made.manifest["split"] == {
        "until": {"train": "2026-03-02T00:00:00.000000Z", "test": "2026-03-03T00:00:00.000000Z"},
        "rows": {"train": 23, "test": 24},
        "unassigned": ROWS - 47,
    }
    open_ended = build(store, {"train": "2026-03-02", "test": None}).manifest["split"]
    assert (open_ended["rows"], open_ended["unassigned"]) == ({"train": 23, "test": ROWS - 24}, 1)


@pytest.mark.slow
def test_a_split_is_part_of_the_request_and_not_of_the_rows(store: FeatureStore) -> None:
    none, first, second = build(store, None), build(store, {"a": 0.5, "b": 0.5}), build(store, {"b": 0.5, "a": 0.5})
    assert len({none.id, first.id, second.id}) == 3
    assert none.digest == first.digest == second.digest == store.rebuild(first.id).digest
    assert none.to_arrow().schema == first.to_arrow().schema == first.split("a").to_arrow().schema
    assert first.split("a").id == first.id == build(store, {"a": 0.5, "b": 0.5}).id
    (file,) = first.files()
    places = pq.read_table(file, columns=["__fs_split"])["__fs_split"].to_pylist()
    assert {part: places.count(part) for part in ("a", "b")} == first.manifest["split"]["rows"]


@pytest.mark.parametrize(
    "split,by,message",
    [
        ({"train": 0.8, "test": 0.3}, None, "add up to 1.1"),
        ({"train": 0, "test": 1}, None, "fraction of 'train' is 0"),
        ({}, None, "has no parts"),
        ({"a b": 1.0}, None, "'a b' is not a valid name"),
        ({"train": 0.8, "test": None}, None, "'train' is 0.8; give either the fraction"),
        ({"train": "2026-03-02", "test": "2026-03-02"}, None, "'test' does not end after 'train'"),
        ({"train": None, "test": "2026-03-02"}, None, "'test' does not end after 'train'"),
        ({"train": "soon", "test": None}, None, "split 'train' 'soon' is not a time"),
        ({"train": 0.8, "test": 0.2}, "grup", "no column 'grup'; did you mean 'group'"),
        ({"train": "2026-03-02", "test": None}, "id", "by= works only with fractions"),
        (None, "id", "by= needs split="),
    ],
)
def test_what_is_wrong_is_named(store: FeatureStore, split: Any, by: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build(store, split, by)


def test_a_part_that_is_not_there(store: FeatureStore) -> None:
    with pytest.raises(RequestError, match="without a split"):
        build(store, None).split("train")
    with pytest.raises(NotFound, match="did you mean 'train'"):
        build(store, {"train": 0.5, "test": 0.5}).split("trian")
