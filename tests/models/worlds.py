"""A small shop for models: orders and profiles of forty customers, one service, a spine with a label."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from sklearn.ensemble import HistGradientBoostingClassifier

from featurestore import Entity, Expression, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.pipelines.training_sets.training_set import TrainingSet
from tests.worlds import load_source

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
CUSTOMERS = 40
UNKNOWN = 999


@dataclass(frozen=True)
class World:
    """A store with materialized features, a training set, and a model trained on it."""

    home: Path
    store: FeatureStore
    training_set: TrainingSet
    model: Any
    inputs: list[str]


def definitions(over: str = "30d") -> FeatureService:
    """The service `churn`; another window is another version of the view."""
    customer = Entity("customer", keys="customer_id")
    orders = FeatureView(
        "customer_orders",
        entity=customer,
        source=Source("orders", table="shop.orders", timestamp="ordered_at"),
        every="1d",
        features={
            "orders": agg.count(over=over),
            "spend": agg.sum("amount", over=over),
            "mean": Expression(f"spend_{over} / orders_{over}"),
        },
    )
    profile = FeatureView(
        "customer_profile",
        entity=customer,
        source=Source("profiles", table="shop.profiles", timestamp="updated_at"),
        features={"age": "age", "country": "country", "is_company": "vat IS NOT NULL"},
    )
    return FeatureService(
        "churn",
        features=[orders.aliased("o", keys={"customer_id": "customer_id"}), profile],
        request={"basket": "double", "asked_at": "timestamp"},
        derived={"basket_vs_spend": f"basket / nullif(o_spend_{over}, 0)"},
    )


def fill(store: FeatureStore) -> None:
    """Load the sources, apply, materialize."""
    dice = random.Random(7)
    orders = [(dice.randrange(CUSTOMERS), float(dice.randrange(1, 100)), START + 80 * DAY * dice.random()) for _ in range(600)]
    stamp = pa.timestamp("us", tz="UTC")
    columns = [pa.array(column, kind) for column, kind in zip(zip(*orders, strict=True), (pa.int64(), pa.float64(), stamp), strict=True)]
    load_source(store, "shop.orders", pa.table(dict(zip(("customer_id", "amount", "ordered_at"), columns, strict=True))))
    profiles = {
        "customer_id": pa.array(range(CUSTOMERS)),
        "age": pa.array([20 + n for n in range(CUSTOMERS)], pa.int32()),
        "country": pa.array(["DE", "FR", "NO", None][n % 4] for n in range(CUSTOMERS)),
        "vat": pa.array([f"X{n}" if n % 3 == 0 else None for n in range(CUSTOMERS)]),
        "updated_at": pa.array([START] * CUSTOMERS, stamp),
    }
    load_source(store, "shop.profiles", pa.table(profiles))
    store.apply([definitions()])
    store.materialize(end=END)


def spine(rows: int = 300, label: bool = True) -> pa.Table:
    """Customers, one of ten unknown, at times after the first month."""
    dice = random.Random(11)
    times = [START + 30 * DAY + 50 * DAY * dice.random() for _ in range(rows)]
    columns: dict[str, Any] = {
        "customer_id": [UNKNOWN if n % 10 == 9 else dice.randrange(CUSTOMERS) for n in range(rows)],
        "basket": [float(dice.randrange(1, 200)) for _ in range(rows)],
        "asked_at": pa.array(times, pa.timestamp("us", tz="UTC")),
        "t": pa.array(times, pa.timestamp("us", tz="UTC")),
    }
    return pa.table({**columns, "churned": [dice.random() < 0.4 for _ in range(rows)]} if label else columns)


def build(home: Path, mlflow_tracking_uri: str | None = None) -> World:
    """The whole world in a folder."""
    store = FeatureStore(settings=Settings(home=home, mlflow_tracking_uri=mlflow_tracking_uri))
    fill(store)
    training_set = store.training_set("churn", spine=spine(), timestamp="t", label="churned")
    inputs = ["basket", "age", *(name for name in training_set.features if name not in ("age", "country"))]
    rows = training_set.to_pandas()
    return World(home, store, training_set, fit(rows[inputs], rows["churned"]), inputs)


def keys(*customers: int | None, basket: float = 10.0) -> pd.DataFrame:
    """What a caller sends: keys and request fields."""
    return pd.DataFrame({"customer_id": customers, "basket": basket, "asked_at": "2026-03-25T00:00:00Z"})


def fit(rows: pd.DataFrame, label: "pd.Series[bool]") -> Any:
    """Small boosted trees, which take NULLs; is_company is NULL for unknown customers, so it is an object column."""
    return HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(rows.astype("float64"), label)
