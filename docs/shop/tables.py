"""The raw tables of a small web shop: six orders and four changes of address, few enough to check by hand."""

from datetime import UTC, datetime

import pyarrow as pa

from featurestore import FeatureStore

TIME = pa.timestamp("us", tz="UTC")


def at(text: str) -> datetime:
    """A time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


ORDERS = pa.table(
    {
        "order_id": pa.array([1, 2, 3, 4, 5, 6], pa.int64()),
        "customer_id": pa.array([1, 1, 2, 1, 2, 1], pa.int64()),
        "ordered_at": pa.array(
            [
                at("2026-03-01 09:30"),
                at("2026-03-01 18:00"),
                at("2026-03-02 12:00"),
                at("2026-03-05 08:00"),
                at("2026-03-09 10:00"),
                at("2026-03-09 20:00"),
            ],
            TIME,
        ),
        "amount": [20.0, 30.0, 15.0, 50.0, 25.0, 10.0],
        "status": ["paid", "paid", "paid", "cancelled", "paid", "paid"],
    }
)

CUSTOMERS = pa.table(
    {
        "customer_id": pa.array([1, 2, 1, 3], pa.int64()),
        "country": ["NL", "DE", "BE", "FR"],
        "vat_id": [None, "DE811", None, None],
        "updated_at": pa.array([at("2026-01-05"), at("2026-02-10"), at("2026-03-08"), at("2026-03-10")], TIME),
    }
)


def load(store: FeatureStore) -> None:
    """Make shop.orders and shop.customers in the store's catalog, as any program that speaks Iceberg would."""
    store.catalog.create_namespace("shop")
    for name, rows in (("shop.orders", ORDERS), ("shop.customers", CUSTOMERS)):
        store.catalog.create_table(name, schema=rows.schema).append(rows)
