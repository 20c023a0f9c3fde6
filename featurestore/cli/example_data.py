"""The rows of the example: four months of orders of a small shop up to yesterday, equal for all runs on a day."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pyarrow as pa

CUSTOMERS = 50
DAYS = 120
TIME = pa.timestamp("us", tz="UTC")


def tables() -> Mapping[str, pa.Table]:
    """The tables by file name: orders and customers for features, and observations for training."""
    chance = random.Random(7)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    orders = _orders(chance, today)
    return {
        "data/orders.parquet": orders,
        "data/customers.parquet": _customers(chance, today),
        "data/observations.parquet": _observations(chance, today, orders),
    }


def _orders(chance: random.Random, today: datetime) -> pa.Table:
    """A row per order; customers order at different rates, and some have stopped."""
    rows: list[tuple[datetime, int, float, str]] = []
    for customer in range(1, CUSTOMERS + 1):
        pace = chance.uniform(2, 20)
        until = today - timedelta(days=chance.choice([0, 0, 0, 20, 50]))
        at = today - timedelta(days=DAYS) + timedelta(days=chance.uniform(0, pace))
        while at < until:
            status = chance.choices(["paid", "cancelled", "draft"], [90, 7, 3])[0]
            rows.append((at, customer, round(chance.lognormvariate(4, 0.6), 2), status))
            at += timedelta(days=chance.expovariate(1 / pace))
    times, customers, amounts, statuses = zip(*sorted(rows), strict=True)
    return pa.table(
        {
            "order_id": pa.array(range(1, len(rows) + 1), pa.int64()),
            "customer_id": pa.array(customers, pa.int64()),
            "amount": pa.array(amounts, pa.float64()),
            "status": pa.array(statuses, pa.string()),
            "ordered_at": pa.array(times, TIME),
        }
    )


def _customers(chance: random.Random, today: datetime) -> pa.Table:
    """A row per customer and change of the profile."""
    rows = []
    for customer in range(1, CUSTOMERS + 1):
        known = {"customer_id": customer, "country": chance.choice(["AT", "CH", "DE"]), "newsletter": chance.random() < 0.5}
        rows.append({**known, "updated_at": today - timedelta(days=DAYS)})
        if chance.random() < 0.3:
            rows.append({**known, "newsletter": not known["newsletter"], "updated_at": today - timedelta(days=chance.uniform(5, 90))})
    schema = [("customer_id", pa.int64()), ("country", pa.string()), ("newsletter", pa.bool_()), ("updated_at", TIME)]
    return pa.Table.from_pylist(rows, pa.schema(schema))


def _observations(chance: random.Random, today: datetime, orders: pa.Table) -> pa.Table:
    """A row per customer and week, with the label: no order in the following 30 days."""
    bought: dict[int, list[datetime]] = {}
    for customer, at in zip(orders["customer_id"].to_pylist(), orders["ordered_at"].to_pylist(), strict=True):
        bought.setdefault(customer, []).append(at)
    rows = []
    for days in range(90, 30, -7):
        at = today - timedelta(days=days)
        for customer in range(1, CUSTOMERS + 1):
            stayed = any(at <= order < at + timedelta(days=30) for order in bought.get(customer, []))
            rows.append(
                {"customer_id": customer, "observed_at": at, "basket": round(chance.lognormvariate(4, 0.6), 2), "churned": not stayed}
            )
    schema = [("customer_id", pa.int64()), ("observed_at", TIME), ("basket", pa.float64()), ("churned", pa.bool_())]
    return pa.Table.from_pylist(rows, pa.schema(schema))
