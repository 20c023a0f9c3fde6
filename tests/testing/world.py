"""A shop small enough to compute by hand: an aggregate view, a row view with corrections, and a service of both."""

from featurestore import Entity, Expression, FeatureService, FeatureView, Source, agg

customer = Entity("customer", keys="customer_id")
orders = Source("orders", table="shop.orders", timestamp="ordered_at", where="status <> 'draft'")
profiles = Source("profiles", table="shop.profiles", timestamp="updated_at", created="known_at")

customer_orders = FeatureView(
    "customer_orders",
    entity=customer,
    source=orders,
    every="1d",
    features={
        "orders": agg.count(over=["1d", "3d"]),
        "spend": agg.sum("amount", over="3d"),
        "mean_order": Expression("spend_3d / nullif(orders_3d, 0)"),
    },
)
customer_profile = FeatureView("customer_profile", entity=customer, source=profiles, ttl="30d", features=["country"])

churn = FeatureService(
    "churn",
    features=[
        customer_orders["orders_3d", "mean_order"],
        customer_profile,
        customer_profile.aliased("referrer", keys={"customer_id": "referrer_id"}),
    ],
    request={"basket": "double"},
    derived={"basket_vs_mean": "basket / nullif(mean_order, 0)"},
)

ORDERS = [
    {"customer_id": 1, "ordered_at": "2026-01-01T10:00:00Z", "amount": 3.0, "status": "paid"},
    {"customer_id": 1, "ordered_at": "2026-01-02T00:00:00Z", "amount": 5.0, "status": "paid"},
    {"customer_id": 1, "ordered_at": "2026-01-02T12:00:00Z", "amount": 100.0, "status": "draft"},
    {"customer_id": 2, "ordered_at": "2026-01-02T23:59:59Z", "amount": 7.0, "status": "paid"},
]
PROFILES = [
    {"customer_id": 1, "updated_at": "2026-01-01", "known_at": "2026-01-01", "country": "NL"},
    {"customer_id": 1, "updated_at": "2026-01-01", "known_at": "2026-01-05", "country": "BE"},
]
