"""A store with views over a query, a file and a feature table, two versions of a service, and a training set."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, Expression, FeatureService, FeatureStore, FeatureView, Source, agg
from tests.worlds import STAMP, load_source

customer = Entity("customer", keys="customer_id")
AT = datetime(2026, 1, 5, tzinfo=UTC)
JOINED = """
WITH rates AS (SELECT currency, max(rate) AS rate FROM shop.rates WHERE valid GROUP BY currency)
SELECT o.customer_id, o.ordered_at, o.amount * r.rate AS euros, o.note FROM shop.orders AS o LEFT JOIN rates AS r USING (currency)
"""


def views(over: str = "7d") -> FeatureService:
    """Spend from a query, a profile from a file, and the spend of a week ago from the feature table of the spend."""
    spend = FeatureView(
        "spend",
        entity=customer,
        source=Source("orders", sql=JOINED, timestamp="ordered_at"),
        every="1d",
        features={"euros": agg.sum("euros", over=over), "n": agg.count(over=over), "mean": Expression(f"euros_{over} / n_{over}")},
    )
    profile = FeatureView(
        "profile", entity=customer, source=Source("profiles", path="profiles.parquet", timestamp="seen_at"), features={"age": "age + 1"}
    )
    return FeatureService(
        "churn", features=[spend, profile], request={"basket": "double"}, derived={"ratio": f"basket / euros_{over}", "b": "basket"}
    )


def chained_view() -> FeatureView:
    source = Source("spends", table="features.spend_v1", timestamp="feature_timestamp", where="n_7d > 0")
    return FeatureView("chained", entity=customer, source=source, features={"log_spend": "ln(euros_7d)", "one": "1"})


@contextmanager
def open_lineage_world(home: Path) -> Iterator[FeatureStore]:
    """The store; paths of files are relative to its folder, which is the current one."""
    with pytest.MonkeyPatch.context() as patch, FeatureStore(home=home) as opened:
        patch.chdir(home)
        at = pa.array([AT], STAMP)
        orders = {"customer_id": [1], "amount": [2.0], "currency": ["EUR"], "note": ["x"], "unread": [1]}
        load_source(opened, "shop.orders", pa.table({**orders, "ordered_at": at}))
        load_source(opened, "shop.rates", pa.table({"currency": ["EUR"], "rate": [1.0], "valid": [True]}))
        load_source(opened, "shop.labels", pa.table({"customer_id": [1], "basket": [1.0], "at": at, "label": [True]}))
        load_source(opened, "shop.alone", pa.table({"x": [1]}))
        pq.write_table(pa.table({"customer_id": [1], "age": [30], "unread": [1], "seen_at": at}), "profiles.parquet")
        opened.apply([views()])
        opened.materialize(end="2026-01-10")
        opened.apply([chained_view()])
        opened.training_set("churn", "iceberg:shop.labels", timestamp="at", label="label", name="first")
        opened.apply([views("14d")])
        yield opened
