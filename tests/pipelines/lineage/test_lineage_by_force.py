"""Column lineage against brute force: the values of one column are changed, and every feature that changes must depend on it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, Expression, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.compiler.features import feature_names
from featurestore.testing import feature_rows, training_rows
from tests.worlds import load_source

pytestmark = pytest.mark.slow

customer = Entity("customer", keys="customer_id")
START = datetime(2026, 3, 1, 10, tzinfo=UTC)
END = "2026-03-20"
Rows = Mapping[str, list[dict[str, Any]]]
TABLES: Rows = {
    "shop.orders": [
        {
            "customer_id": 1 + number % 3,
            "amount": 10.0 + 7 * (number % 5) + number,
            "tax": 1.0 + number % 4,
            "status": "open" if number % 3 else "sent",
            "currency": ("EUR", "USD", "SEK")[(number // 2) % 3],
            "draft": number % 5 == 4,
            "unread": number,
            "ordered_at": START + timedelta(hours=19 * number),
            "loaded_at": START + timedelta(hours=19 * number + 5),
        }
        for number in range(12)
    ],
    "shop.rates": [
        {"currency": "EUR", "rate": 1.0, "valid": True, "priority": 1},
        {"currency": "EUR", "rate": 1.5, "valid": True, "priority": 2},
        {"currency": "USD", "rate": 0.5, "valid": True, "priority": 1},
        {"currency": "SEK", "rate": 0.25, "valid": False, "priority": 3},
    ],
}
ORDERS = Source("orders", table="shop.orders", timestamp="ordered_at", columns={"total": "amount + tax"}, where="NOT draft")
QUERIES = {
    "joined": """
        SELECT o.customer_id, o.ordered_at, o.amount * r.rate AS value
        FROM shop.orders AS o JOIN shop.rates AS r ON o.currency = r.currency AND r.valid
    """,
    "newest_rate": """
        WITH best AS (
            SELECT currency, rate FROM shop.rates QUALIFY row_number() OVER (PARTITION BY currency ORDER BY priority DESC) = 1
        )
        SELECT o.customer_id, o.ordered_at, o.amount * best.rate AS value FROM shop.orders AS o LEFT JOIN best USING (currency)
    """,
    "counted": """
        SELECT customer_id, ordered_at, count(*) AS value FROM shop.orders WHERE status = 'open' GROUP BY customer_id, ordered_at
    """,
    "counted_by_one": "SELECT customer_id, max(ordered_at) AS ordered_at, count(1) AS value FROM shop.orders GROUP BY ALL",
    "subquery": """
        SELECT customer_id, ordered_at, (SELECT count(*) FROM shop.rates AS r WHERE r.priority < o.tax) AS value
        FROM shop.orders AS o
    """,
    "running": """
        SELECT customer_id, ordered_at,
            sum(amount) OVER (PARTITION BY status ORDER BY loaded_at ROWS UNBOUNDED PRECEDING) AS value
        FROM shop.orders
    """,
    "in_set": """
        SELECT customer_id, ordered_at, tax AS value FROM shop.orders
        WHERE currency IN (SELECT currency FROM shop.rates WHERE valid)
    """,
    "union": """
        SELECT customer_id, ordered_at, amount AS value FROM shop.orders WHERE draft
        UNION ALL SELECT customer_id, ordered_at, tax FROM shop.orders WHERE NOT draft
    """,
    "whole_row": "SELECT * EXCLUDE (unread), CASE WHEN draft THEN tax ELSE amount END AS value FROM shop.orders",
    "first": "SELECT customer_id, ordered_at, amount AS value FROM shop.orders ORDER BY loaded_at DESC LIMIT 5",
}
VIEWS = (
    FeatureView(
        "windows",
        entity=customer,
        source=ORDERS,
        every="1d",
        features={
            "spend": agg.sum("total", over="5d"),
            "n": agg.count(over="5d"),
            "open": agg.count(where="status = 'open'", over="5d"),
            "last_status": agg.last("status", over="5d"),
            "mean": Expression("spend_5d / nullif(n_5d, 0)"),
        },
    ),
    FeatureView("rows", entity=customer, source=ORDERS, features={"total": "total", "big": "amount > 30", "one": "1"}),
    FeatureView(
        "known",
        entity=customer,
        source=Source("loads", table="shop.orders", timestamp="ordered_at", created="loaded_at"),
        features={"tax": "tax"},
    ),
    *(
        FeatureView(f"q_{name}", entity=customer, source=Source(name, sql=sql, timestamp="ordered_at"), features=["value"])
        for name, sql in QUERIES.items()
    ),
    FeatureView("q_sum", entity=customer, source=Source("j", sql=QUERIES["joined"], timestamp="ordered_at"), every="1d",
                features={"value": agg.sum("value", over="3d")}),
)  # fmt: skip
SERVICE = FeatureService(
    "churn",
    features=[VIEWS[0], VIEWS[1].aliased("r", keys={"customer_id": "customer_id"})],
    request={"basket": "double"},
    derived={"share": "basket / nullif(spend_5d, 0)", "both": "r_total + n_5d", "basket_only": "basket * 2"},
)
SPINE = [{"customer_id": key, "basket": 10.0 * key, "at": f"2026-03-{day:02d}"} for key in (1, 2, 3) for day in (3, 6, 9, 12)]


def changed_values(values: list[Any], column: str) -> Iterator[list[Any]]:
    """Other values of a column."""
    yield values[::-1]
    yield [*values[1:], values[0]]
    if isinstance(values[0], bool):
        yield [not value for value in values]
    elif isinstance(values[0], int | float):
        yield [value % 3 + 1 for value in values] if column == "customer_id" else [-2 * value for value in values]
    elif isinstance(values[0], datetime):
        yield [value + timedelta(days=1) for value in values]
    else:
        yield ["other", *values[1:]]
        yield [values[0]] * len(values)


def reads(view: FeatureView, table: str) -> bool:
    """Whether a view is given the rows of a table: without them it is computed from nothing that changes."""
    return table == view.source.table if view.source.sql is None else table in view.source.sql


def computed(rows: Rows, view: FeatureView) -> dict[Any, dict[str, Any]]:
    """The features of a view by key and time."""
    source = view.source
    read = {name: table for name, table in rows.items() if source.sql is None or name in source.sql}
    given = read if source.sql is not None else {source.name: rows["shop.orders"]}
    rows_of_view = feature_rows(view, given, materialized_at=END)
    return {
        (row["customer_id"], row["feature_timestamp"], row.get("created_timestamp")): {
            name: value for name, value in row.items() if name not in ("customer_id", "feature_timestamp", "created_timestamp")
        }
        for row in rows_of_view
    }


def trained(rows: Rows) -> dict[Any, dict[str, Any]]:
    """The features of the service by spine row."""
    joined = training_rows(SERVICE, {"orders": rows["shop.orders"]}, SPINE, timestamp="at", materialized_at=END)
    return {
        number: {name: value for name, value in row.items() if name not in ("customer_id", "basket", "at")}
        for number, row in enumerate(joined)
    }


def differences(before: dict[Any, dict[str, Any]], after: dict[Any, dict[str, Any]]) -> set[str]:
    names = {name for row in before.values() for name in row}
    missing: dict[str, Any] = {}
    return {
        name
        for name in names
        for place in before.keys() | after.keys()
        if (place in before) != (place in after) or before.get(place, missing).get(name) != after.get(place, missing).get(name)
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path_factory.mktemp("force")) as opened:
        for name, rows in TABLES.items():
            load_source(opened, name, pa.Table.from_pylist(rows))
        opened.apply([*VIEWS, SERVICE])
        yield opened


@pytest.fixture(scope="module")
def unchanged() -> dict[str, dict[Any, dict[str, Any]]]:
    return {**{view.name: computed(TABLES, view) for view in VIEWS}, "churn": trained(TABLES)}


COLUMNS = [(table, column) for table, rows in TABLES.items() for column in rows[0]]


@pytest.mark.parametrize("table,column", COLUMNS, ids=lambda value: value)
def test_a_feature_that_changes_depends_on_what_was_changed(
    store: FeatureStore, unchanged: dict[str, dict[Any, dict[str, Any]]], table: str, column: str
) -> None:
    lineage = store.lineage(f"{table}.{column}", "down")
    listed: dict[str, str] = {}
    for node in lineage.nodes:
        if node.kind in ("feature", "service feature"):
            assert node.of is not None
            owner = "churn" if node.kind == "service feature" else node.of.removeprefix("features.").removesuffix("_v1")
            listed[f"{owner}.{node.name}"] = node.dependence
    changed: set[str] = set()
    for values in changed_values([row[column] for row in TABLES[table]], column):
        rows = {**TABLES, table: [{**row, column: value} for row, value in zip(TABLES[table], values, strict=True)]}
        for view in VIEWS:
            # What has changed already needs no other values.
            if reads(view, table) and not {f"{view.name}.{name}" for name in feature_names(view)} <= changed:
                changed |= {f"{view.name}.{name}" for name in differences(unchanged[view.name], computed(rows, view))}
        if table == "shop.orders" and not {name for name in listed if name.startswith("churn.")} <= changed:
            changed |= {f"churn.{name}" for name in differences(unchanged["churn"], trained(rows))}
    assert changed - listed.keys() == set()
    # Nor is everything listed: what a value is computed from does change it.
    assert {name for name, how in listed.items() if how == "direct"} - changed == set()
    assert (column == "unread") == (not changed)


def test_up_and_down_are_the_same_edges(store: FeatureStore) -> None:
    names = [f"{view.name}.{name}" for view in VIEWS for name in feature_names(view)]
    ups = {name: store.lineage(name, "up") for name in names}
    for table, column in COLUMNS:
        down = store.lineage(f"{table}.{column}", "down").dependences()
        for up in ups.values():
            (target,) = up.targets
            assert down.get(target) == up.dependences().get(f"{table}.{column}")


def test_impact_lists_the_same_features(store: FeatureStore) -> None:
    for table, column in COLUMNS:
        impact = store.impact(table, column)
        down = store.lineage(f"{table}.{column}", "down")
        views = {f"{view.table}.{name}": how for view in impact.views for name, how in view.features.items()}
        assert down.dependences("feature") == views
        services = {f"services:/churn/1/{name}": how for service in impact.services for name, how in service.features.items()}
        assert down.dependences("service feature") == services
