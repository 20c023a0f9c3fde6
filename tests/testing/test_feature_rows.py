"""The rows of a view over literals, compared with values computed by hand."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from featurestore import Entity, FeatureService, FeatureView, Source, agg
from featurestore.errors import DefinitionError, RequestError
from featurestore.testing import feature_rows, utc
from tests.testing.world import ORDERS, PROFILES, customer, customer_orders, customer_profile, orders


def test_an_aggregate_view_stores_a_row_where_a_value_can_have_changed() -> None:
    rows = feature_rows(customer_orders["orders_1d", "orders_3d", "spend_3d", "mean_order"], {"orders": ORDERS})
    first = [tuple(row.values()) for row in rows if row["customer_id"] == 1]
    assert first == [
        (1, utc("2026-01-02"), 1, 1, 3.0, 3.0),  # the order at midnight of the 2nd is not yet in: a window ends before its end
        (1, utc("2026-01-03"), 1, 2, 8.0, 4.0),
        (1, utc("2026-01-04"), 0, 2, 8.0, 4.0),  # the last order has left the window of one day
        (1, utc("2026-01-05"), 0, 1, 5.0, 5.0),
        (1, utc("2026-01-06"), 0, 0, None, None),
    ]
    assert [row["feature_timestamp"] for row in rows if row["customer_id"] == 2] == [
        utc(day) for day in ("2026-01-03", "2026-01-04", "2026-01-06")
    ]


def test_columns_are_keys_then_time_then_features_in_their_order() -> None:
    (row, *_) = feature_rows(customer_orders, {"orders": ORDERS})
    assert list(row) == ["customer_id", "feature_timestamp", "orders_1d", "orders_3d", "spend_3d", "mean_order"]
    assert row["feature_timestamp"].tzinfo is UTC


def test_at_a_time_every_key_has_the_row_that_a_join_sees() -> None:
    rows = {"orders": ORDERS}
    assert feature_rows(customer_orders["orders_3d"], rows, at="2026-01-02T23:00:00") == [
        {"customer_id": 1, "feature_timestamp": utc("2026-01-02"), "orders_3d": 1},
        {"customer_id": 2, "feature_timestamp": None, "orders_3d": None},
    ]
    assert feature_rows(customer_orders["orders_3d"], rows, at=datetime(2026, 1, 3, tzinfo=UTC)) == [
        {"customer_id": 1, "feature_timestamp": utc("2026-01-03"), "orders_3d": 2},
        {"customer_id": 2, "feature_timestamp": utc("2026-01-03"), "orders_3d": 1},
    ]


@pytest.mark.parametrize("at,seen", [("2026-01-31", "BE"), ("2026-01-31T00:00:00.000001", None), ("2025-12-31T23:59:59", None)])
def test_a_row_view_holds_until_its_ttl_inclusive(at: str, seen: str | None) -> None:
    (row,) = feature_rows(customer_profile, {"profiles": PROFILES}, at=at)
    assert row["country"] == seen
    assert (row["feature_timestamp"] is None) == (seen is None)


def test_corrections_are_kept_and_known_then_sees_what_was_known() -> None:
    rows = {"profiles": PROFILES}
    assert feature_rows(customer_profile, rows) == [
        {"customer_id": 1, "feature_timestamp": utc("2026-01-01"), "created_timestamp": utc("2026-01-01"), "country": "NL"},
        {"customer_id": 1, "feature_timestamp": utc("2026-01-01"), "created_timestamp": utc("2026-01-05"), "country": "BE"},
    ]
    for at, known, country in [
        ("2026-01-04", "now", "BE"),
        ("2026-01-04", "then", "NL"),
        ("2026-01-05", "then", "BE"),
    ]:
        assert [row["country"] for row in feature_rows(customer_profile, rows, at=at, known=known)] == [country]  # type: ignore[arg-type]


def test_known_then_without_a_created_column_needs_the_time_of_the_run() -> None:
    rows = {"orders": ORDERS}
    with pytest.raises(RequestError, match=r"source orders has no created column.*materialized_at="):
        feature_rows(customer_orders, rows, at="2026-01-03", known="then")
    for at, seen in [("2026-01-03T00:59", None), ("2026-01-03T01:00", 2)]:
        computed = feature_rows(customer_orders["orders_3d"], rows, at=at, known="then", materialized_at="2026-01-03T01:00")
        assert computed[0]["orders_3d"] == seen


def test_a_run_computes_nothing_later_than_itself() -> None:
    rows = feature_rows(customer_orders, {"orders": ORDERS}, materialized_at="2026-01-03T12:00")
    assert max(row["feature_timestamp"] for row in rows) == utc("2026-01-03")


EVENTS: list[dict[str, Any]] = [
    {"k": "a", "at": "2026-01-01T01:00", "v": 4, "s": "x"},
    {"k": "a", "at": "2026-01-01T02:00", "v": None, "s": "y"},
    {"k": "a", "at": "2026-01-01T03:00", "v": 1, "s": "x"},
    {"k": "a", "at": "2026-01-01T04:00", "v": 4, "s": None},
]
BY_HAND = {
    "count": (agg.count(over="1d"), 4),
    "count_of": (agg.count("v", over="1d"), 3),
    "count_where": (agg.count(where="s = 'x'", over="1d"), 2),
    "count_distinct": (agg.count_distinct("v", over="1d"), 2),
    "sum": (agg.sum("v", over="1d"), 9),
    "mean": (agg.mean("v", over="1d"), 3.0),
    "min": (agg.min("v", over="1d"), 1),
    "max": (agg.max("v", over="1d"), 4),
    "stddev": (agg.stddev("v", over="1d"), pytest.approx(3**0.5)),  # (1 + 1 + 4) / 2 around the mean of 3
    "percentile": (agg.percentile("v", q=0.25, over="1d"), 2.5),  # half way from 1 to 4
    "first": (agg.first("v", over="1d"), 4),
    "last": (agg.last("s", over="1d"), "x"),
    "last_n": (agg.last_n("v", n=2, over="1d"), [4, 1]),
}


def test_every_aggregation() -> None:
    features = {name: aggregation for name, (aggregation, _) in BY_HAND.items()}
    view = FeatureView("v", entity=Entity("e", keys="k"), source=Source("s", path="s.csv", timestamp="at"), every="1d", features=features)
    assert feature_rows(view, {"s": EVENTS}, at="2026-01-02") == [
        {"k": "a", "feature_timestamp": utc("2026-01-02"), **{f"{name}_1d": value for name, (_, value) in BY_HAND.items()}}
    ]


def test_added_columns_and_where_and_two_keys() -> None:
    source = Source(
        "lines",
        table="shop.lines",
        timestamp="at",
        columns={"at": "CAST(day AS TIMESTAMPTZ)", "worth": "amount * price"},
        where="worth > 1",
    )
    view = FeatureView(
        "worths", entity=Entity("line", keys=["b", "a"]), source=source, features={"double": "2 * worth", "dear": "price > 5"}
    )
    lines = [
        {"a": 1, "b": "x", "day": "2026-01-01", "amount": 2, "price": Decimal("3.50")},
        {"a": 1, "b": "x", "day": "2026-01-02", "amount": 0, "price": Decimal(9)},
    ]
    assert feature_rows(view, {"shop.lines": lines}) == [
        {"b": "x", "a": 1, "feature_timestamp": utc("2026-01-01"), "double": Decimal("14.00"), "dear": False}
    ]


def test_a_query_reads_the_rows_of_its_tables_by_their_names() -> None:
    source = Source(
        "visits",
        sql="SELECT shop AS place, opened AS at FROM raw.visits UNION ALL SELECT l.shop AS place, l.left_at AS at FROM raw.leaves l",
        timestamp="at",
    )
    view = FeatureView("visits", entity=Entity("place", keys="place"), source=source, every="1h", features={"n": agg.count(over="1h")})
    rows = {"raw.visits": [{"shop": "a", "opened": "2026-01-01T00:10"}], "raw.leaves": [{"shop": "a", "left_at": "2026-01-01T00:20"}]}
    assert feature_rows(view, rows, at="2026-01-01T01:00") == [{"place": "a", "feature_timestamp": utc("2026-01-01T01:00"), "n_1h": 2}]
    with pytest.raises(RequestError, match=r"none for 'raw\.leaves', which the query of source visits reads"):
        feature_rows(view, {"raw.visits": rows["raw.visits"]})


def test_a_view_under_an_alias_is_called_as_the_service_calls_it() -> None:
    aliased = customer_profile.aliased("referrer", keys={"customer_id": "referrer_id"})
    for at in (None, "2026-01-06"):
        row = feature_rows(aliased, {"profiles": PROFILES}, at=at)[-1]
        assert {"referrer_id": 1, "referrer_country": "BE"}.items() <= row.items()


def test_rows_without_key_or_time_are_left_out_and_no_rows_give_none() -> None:
    strange = [{**ORDERS[0], "customer_id": None}, {**ORDERS[0], "ordered_at": None}]
    assert len(feature_rows(customer_orders, {"orders": [*ORDERS, *strange]})) == len(feature_rows(customer_orders, {"orders": ORDERS}))
    schema = {"orders": {"customer_id": "long", "ordered_at": "timestamp", "amount": "double", "status": "string"}}
    assert feature_rows(customer_orders, {"orders": []}, schema=schema) == []
    assert feature_rows(customer_orders, {"orders": []}, schema=schema, at="2026-01-01") == []


def test_every_problem_is_told_as_a_plan_tells_it() -> None:
    view = FeatureView(
        "wrong",
        entity=customer,
        source=orders,
        every="1d",
        ttl="3d",
        features={"spend": agg.sum("amount", over="36h"), "orders": agg.count(where="stats = 'paid'", over="1d")},
    )
    with pytest.raises(DefinitionError) as caught:
        feature_rows(view, {"orders": ORDERS})
    assert [(problem.object, problem.field) for problem in caught.value.problems] == [
        ("view 'wrong'", "features.spend"),
        ("view 'wrong'", "ttl"),
    ]


def test_what_cannot_be_asked_is_refused() -> None:
    rows = {"orders": ORDERS}
    with pytest.raises(RequestError, match=r"feature_rows takes a view.*training_rows"):
        feature_rows(FeatureService("s", features=[customer_orders]), rows)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="known='then' needs at="):
        feature_rows(customer_orders, rows, known="then")
    with pytest.raises(RequestError, match="at 'noon' is not a time"):
        feature_rows(customer_orders, rows, at="noon")
