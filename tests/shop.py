"""A small web shop to serve: orders in an Iceberg table, profiles with awkward types, a service with a request field."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import uvicorn

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.server.app import create_app
from featurestore.server.connection import protocol_of
from featurestore.server.jobs.consumer import JobConsumer
from featurestore.server.jobs.worker import jobs_path
from featurestore.server.run import listen, url_of
from tests.forked import fork_context

TIME = pa.timestamp("us", tz="UTC")
NOW = datetime.now(UTC).replace(microsecond=0)

customer = Entity("customer", keys="customer_id", description="A buyer")
orders = Source("orders", table="shop.orders", timestamp="ordered_at")
profiles = Source("profiles", table="shop.profiles", timestamp="updated_at")
customer_orders = FeatureView(
    "customer_orders",
    entity=customer,
    source=orders,
    every="1d",
    features={"orders": agg.count(over=["7d", "30d"]), "spend": agg.sum("amount", over="30d")},
)
customer_profile = FeatureView(
    "customer_profile",
    entity=customer,
    source=profiles,
    ttl="100d",
    features=["country", "born", "credit", "seen_at", "score"],
)
churn = FeatureService(
    "churn",
    features=[customer_orders, customer_profile],
    request={"basket": "double"},
    derived={"basket_share": "basket / nullif(spend_30d, 0)"},
)
plain = FeatureService("plain", features=[customer_orders, customer_profile])

DEFINITIONS = [churn, plain]

SPINE_SQL = "SELECT customer_id, amount AS basket, ordered_at FROM shop.orders ORDER BY ordered_at"


def days(count: float) -> datetime:
    """So many days ago."""
    return NOW - timedelta(days=count)


def order_rows() -> pa.Table:
    """Customers 1 and 2; the last order is two days old."""
    rows = [(1, 10.0, days(40)), (2, 20.0, days(20)), (1, 30.0, days(5)), (1, 50.0, days(2))]
    return pa.table(
        {
            "customer_id": pa.array([row[0] for row in rows], pa.int64()),
            "amount": pa.array([row[1] for row in rows], pa.float64()),
            "ordered_at": pa.array([row[2] for row in rows], TIME),
        }
    )


def profile_rows() -> pa.Table:
    """Customer 1 with a value of every type, customer 2 with a profile that is too old to be used."""
    return pa.table(
        {
            "customer_id": pa.array([1, 2], pa.int64()),
            "country": pa.array(["AT", "CH"]),
            "born": pa.array([date(1970, 2, 3), None], pa.date32()),
            "credit": pa.array([Decimal("12.30"), None], pa.decimal128(10, 2)),
            "seen_at": pa.array([datetime(2026, 1, 2, 3, 4, 5, 6, UTC), None], TIME),
            "score": pa.array([float("nan"), 1.5], pa.float64()),
            "updated_at": pa.array([days(30), days(200)], TIME),
        }
    )


def spine() -> pa.Table:
    """Three rows to learn from: one known customer, one unknown, one NULL key."""
    return pa.table(
        {
            "customer_id": pa.array([1, 99, None], pa.int64()),
            "basket": pa.array([40.0, 1.0, 2.0], pa.float64()),
            "asked_at": pa.array([days(1), days(1), days(1)], TIME),
            "churned": pa.array([True, False, None]),
        }
    )


def add(store: FeatureStore, name: str, rows: pa.Table) -> None:
    """Append rows to a source table, made if it is not there."""
    store.catalog.create_namespace_if_not_exists(name.partition(".")[0])
    store.catalog.create_table_if_not_exists(name, schema=rows.schema).append(rows)


def open_shop(home: Path, **settings: Any) -> FeatureStore:
    """A store with the shop's tables, applied and materialized."""
    store = FeatureStore(settings=Settings(home=home, **settings))
    fill(store)
    return store


def declare(store: FeatureStore) -> None:
    """Make the shop's source tables and apply its definitions."""
    add(store, "shop.orders", order_rows())
    add(store, "shop.profiles", profile_rows())
    store.apply(DEFINITIONS)


def fill(store: FeatureStore) -> None:
    """Make the shop's tables, apply and materialize."""
    declare(store)
    store.materialize()


@contextmanager
def serving(store: FeatureStore, jobs: bool = False, **options: Any) -> Iterator[str]:
    """The URL of a real server over the store, for as long as the block lasts; with `jobs` it also does those that it takes."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        create_app(store, **options), loop="uvloop", http=protocol_of(store.settings), ws="none", lifespan="on", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        with working(store) if jobs else nullcontext():
            yield url_of("127.0.0.1", listener)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def working(store: FeatureStore) -> Iterator[None]:
    """Jobs of the store are run, each in its process. What takes them is here and not in a process as beside a real server: all tests
    of a session fork from one process that has imported everything.
    """
    settings = store.settings
    fork_context()
    consumer = JobConsumer(
        jobs_path(settings), settings.to_json_with_secrets(), settings.job_workers, settings.job_memory(), settings.spill_path()
    )
    thread = threading.Thread(target=consumer.run)
    thread.start()
    try:
        yield
    finally:
        consumer.stop()
        thread.join()
