"""A small shop: orders, a view that counts them, a view of the last order, and two services."""

from dataclasses import replace

import pyarrow as pa

from featurestore import Entity, FeatureService, FeatureView, Source, agg
from tests.worlds import STAMP

customer = Entity("customer", keys="customer_id")
orders = Source("orders", table="shop.orders", timestamp="at")
counts = FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over="7d")})
wider = replace(counts, features={"n": agg.count(over=["7d", "14d"])})
profile = FeatureView("profile", entity=customer, source=orders, features={"status": "status"})
churn = FeatureService("churn", features=[counts, profile])
moved = FeatureService("churn", features=[wider, profile])
"""The service on the second version of the view `counts`."""
SPINE = [{"customer_id": 1, "t": "1970-01-03"}]


def rows(count: int) -> pa.Table:
    """An order each of the customers 0, 1, 2, ..., a microsecond after one another."""
    status = pa.array(["a"] * count, pa.string())
    return pa.table({"customer_id": pa.array(range(count), pa.int64()), "at": pa.array(range(count), STAMP), "status": status})
