"""Training sets without a spine: every key of a service at every point of a time grid."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, connect
from featurestore.errors import RequestError
from tests import shop
from tests.worlds import STAMP, load_source

HOUR = 3_600_000_000
START = 1_767_225_600_000_000
customer = Entity("customer", keys="customer_id")
basket = Entity("basket", keys=["customer_id", "product_id"])


def rows(*found: tuple[int | None, int, int, int]) -> pa.Table:
    """customer_id, product_id, hour, value."""
    return pa.table(
        {
            "customer_id": pa.array([row[0] for row in found], pa.int64()),
            "product_id": pa.array([row[1] for row in found], pa.int64()),
            "at": pa.array([START + row[2] * HOUR for row in found], STAMP),
            "value": pa.array([row[3] for row in found], pa.int64()),
        }
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path_factory.mktemp("grid")) as opened:
        load_source(opened, "raw.first", rows((2, 1, 0, 20), (1, 1, 1, 10), (1, 1, 3, 11), (3, 1, 9, 30), (None, 1, 0, 0)))
        load_source(opened, "raw.second", rows((1, 7, 0, 100), (4, 7, 2, 400)))
        sources = [Source(name, table=f"raw.{name}", timestamp="at") for name in ("first", "second")]
        first = FeatureView("first", entity=customer, source=sources[0], features={"a": "value"})
        second = FeatureView("second", entity=customer, source=sources[1], features={"b": "value"})
        pair = FeatureView("pair", entity=basket, source=sources[1], features={"c": "value"})
        opened.apply(
            [
                FeatureService("customers", features=[first, second]),
                FeatureService("referrers", features=[first.aliased("referrer", keys={"customer_id": "referrer_id"})]),
                FeatureService("pairs", features=[first, pair]),
                FeatureService("apart", features=[first, second.aliased("referrer", keys={"customer_id": "referrer_id"})]),
                FeatureService("asking", features=[first], request={"x": "double"}),
            ]
        )
        opened.materialize()
        yield opened


def grid_rows(store: FeatureStore, service: str, hours: tuple[int, int], every: str) -> list[tuple[object, ...]]:
    """The rows of a training set, times as hours."""
    start, end = (pa.scalar(START + hour * HOUR, STAMP).as_py() for hour in hours)
    made = store.training_set(service, start=start, end=end, every=every).to_arrow()
    hour = [(value - START) // HOUR for value in made.column("timestamp").cast(pa.int64()).to_pylist()]
    return list(zip(*(hour if name == "timestamp" else made.column(name).to_pylist() for name in made.schema.names), strict=True))


@pytest.mark.slow
def test_each_key_at_each_time(store: FeatureStore) -> None:
    """Keys of all of the service's views with a row by the end, ordered by key and time; the end is one of the times."""
    assert grid_rows(store, "customers", (0, 4), "2h") == [
        (1, 0, None, 100),
        (1, 2, 10, 100),
        (1, 4, 11, 100),
        (2, 0, 20, None),
        (2, 2, 20, None),
        (2, 4, 20, None),
        (4, 0, None, None),
        (4, 2, None, 400),
        (4, 4, None, 400),
    ]
    assert [row[:2] for row in grid_rows(store, "customers", (8, 9), "2h")] == [(1, 8), (2, 8), (3, 8), (4, 8)]


def test_an_alias_has_its_own_key(store: FeatureStore) -> None:
    assert grid_rows(store, "referrers", (1, 1), "1d") == [(1, 1, 10), (2, 1, 20)]


def test_a_key_with_many_rows_comes_once(store: FeatureStore) -> None:
    assert grid_rows(store, "referrers", (4, 4), "1d") == [(1, 4, 11), (2, 4, 20)]


def test_the_widest_key_says_which_belong_together(store: FeatureStore) -> None:
    assert grid_rows(store, "pairs", (2, 2), "1d") == [(1, 7, 2, 10, 100), (4, 7, 2, None, 400)]


def test_it_is_a_training_set_like_any_other(store: FeatureStore) -> None:
    grid: dict[str, Any] = {"start": "2026-01-01", "end": "2026-01-02", "every": "6h"}
    made = store.training_set("customers", **grid, timestamp="asked_at", name="grid")
    assert made.timestamp == "asked_at"
    assert store.training_set("customers", **grid, timestamp="asked_at", name="grid").id == made.id
    assert store.rebuild(made.id).digest == made.digest
    assert store.point_in_time("customers", **grid, timestamp="asked_at").equals(made.to_arrow())
    spine = made.to_arrow().select(["customer_id", "asked_at"])
    assert store.training_set("customers", spine, "asked_at", name="grid").id == made.id


@pytest.mark.slow
def test_a_server_makes_the_spine(store: FeatureStore) -> None:
    grid: dict[str, Any] = {"start": "2026-01-01", "end": datetime(2026, 1, 2, tzinfo=UTC), "every": "6h"}
    with shop.serving(store, jobs=True) as url, connect(url, timeout=60) as remote:
        made = remote.training_set("customers", **grid, name="far")
        assert made.id == store.training_set("customers", **grid, name="far").id
        assert made.to_arrow().column("timestamp").type == STAMP
        assert remote.point_in_time("customers", **grid).equals(made.to_arrow())
        with pytest.raises(RequestError, match="no view of service apart"):
            remote.training_set("apart", **grid)


@pytest.mark.parametrize(
    "service, options, message",
    [
        ("customers", {}, "start= is missing"),
        ("customers", {"start": "2026-01-01", "end": "2026-01-02"}, "every= is missing"),
        ("customers", {"spine": [], "timestamp": "t", "end": "2026-01-02"}, "not spine= and end="),
        ("customers", {"spine": []}, "a spine needs timestamp="),
        ("customers", {"start": "2026-01-02", "end": "2026-01-01", "every": "1d"}, "is before start"),
        ("customers", {"start": "2026-01-01", "end": "2026-01-01", "every": "daily"}, "every: 'daily' is not a duration"),
        ("customers", {"start": "2026-01-01", "end": "2026-01-01", "every": "0d"}, "must be longer than zero"),
        ("customers", {"start": "soon", "end": "2026-01-01", "every": "1d"}, "start 'soon' is not a time"),
        ("customers", {"start": "2026-01-01", "end": "2026-01-01", "every": "1d", "timestamp": "customer_id"}, "is a key column"),
        ("apart", {"start": "2026-01-01", "end": "2026-01-01", "every": "1d"}, "no view of service apart has all of its keys"),
        ("asking", {"start": "2026-01-01", "end": "2026-01-01", "every": "1d"}, r"request fields, which only callers know \(x\)"),
    ],
)
def test_what_is_wrong_is_told(store: FeatureStore, service: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        store.training_set(service, **options)  # type: ignore[arg-type]
