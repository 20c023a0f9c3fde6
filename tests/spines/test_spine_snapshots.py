"""A spine at a snapshot has the columns of the table at that snapshot."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.types import LongType, StringType, TimestamptzType

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source
from featurestore.errors import NotFound, RequestError
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def times(*days: int) -> pa.Array:
    return pa.array([day(number) for number in days], STAMP)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FeatureStore, int, int]]:
    """A store with a table of questions whose columns changed between its two snapshots: all but the meaning of field ids."""
    with FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("spines"))) as store:
        load_source(store, "raw.a", pa.table({"k": [1, 1, 2], "t": times(1, 4, 1), "v": [10, 11, 20]}))
        view = FeatureView("a", entity=Entity("e", keys="k"), source=Source("a", table="raw.a", timestamp="t"), features=["v"])
        store.apply([FeatureService("s", features=[view])])
        store.materialize(end="2026-02-01")
        rows = pa.table({"k": pa.array([1, 2], pa.int32()), "now": times(2, 3), "note": ["a", "b"], "extra": [1.5, 2.5]})
        first = load_source(store, "raw.asked", rows).current_snapshot()
        table = store.catalog.load_table("raw.asked")
        with table.update_schema() as update:
            update.rename_column("note", "remark")
            update.update_column("k", LongType())
            update.rename_column("now", "before")
            update.delete_column("extra")
        with table.update_schema() as update:
            update.add_column("extra", StringType())
            update.add_column("now", TimestamptzType())
        table.append(pa.table({"k": [1], "before": times(1), "remark": ["c"], "extra": ["x"], "now": times(5)}))
        second = store.catalog.load_table("raw.asked").current_snapshot()
        assert first is not None
        assert second is not None
        yield store, first.snapshot_id, second.snapshot_id


def test_a_snapshot_is_read_with_its_own_columns(changed: tuple[FeatureStore, int, int]) -> None:
    store, first, second = changed
    then = store.point_in_time("s", f"iceberg:raw.asked@{first}", "now")
    assert then.schema.names == ["k", "now", "note", "extra", "v"]
    assert [list(row.values()) for row in then.to_pylist()] == [[1, day(2), "a", 1.5, 10], [2, day(3), "b", 2.5, 20]]
    expected: list[Any] = [[1, day(1), "c", "x", day(5), 11], [1, day(2), "a", None, None, None], [2, day(3), "b", None, None, None]]
    for spine in (f"iceberg:raw.asked@{second}", "iceberg:raw.asked"):
        now = store.point_in_time("s", spine, "now")
        assert now.schema.names == ["k", "before", "remark", "extra", "now", "v"]
        assert sorted((list(row.values()) for row in now.to_pylist()), key=str) == sorted(expected, key=str)
    assert sorted(store.point_in_time("s", "iceberg:raw.asked", "before").column("v").to_pylist()) == [10, 10, 20]


def test_what_the_snapshot_does_not_have_is_named(changed: tuple[FeatureStore, int, int]) -> None:
    store, first, _ = changed
    with pytest.raises(RequestError, match="the spine has no timestamp column 'before'; known: 'extra', 'k', 'note', 'now'"):
        store.point_in_time("s", f"iceberg:raw.asked@{first}", "before")
    for text in ("", "x", "-1", f"{first}@{first}", "9" * 30):
        with pytest.raises(NotFound, match=rf"no snapshot '{text}' in raw\.asked") as caught:
            store.point_in_time("s", f"iceberg:raw.asked@{text}", "now")
        assert str(first) in caught.value.details["known"]


@pytest.mark.parametrize("name", [". .", "..", ".", "raw.", " raw.asked", "raw..asked", "../raw", "/etc/passwd"])
def test_what_is_no_name_of_a_table_is_refused(changed: tuple[FeatureStore, int, int], name: str) -> None:
    with pytest.raises(RequestError, match=r"is not the name of a table; write namespace\.name") as caught:
        changed[0].point_in_time("s", f"iceberg:{name}", "now")
    assert caught.value.details["field"] == "table"
