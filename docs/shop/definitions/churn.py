"""Will a customer stop buying? Features of the shop's churn model."""

from featurestore import Entity, Expression, FeatureService, FeatureView, Source, agg

customer = Entity("customer", keys="customer_id", description="A registered buyer")

orders = Source("orders", table="shop.orders", timestamp="ordered_at")
customers = Source("customers", table="shop.customers", timestamp="updated_at")

customer_orders = FeatureView(
    "customer_orders",
    entity=customer,
    source=orders,
    every="1d",
    features={
        "orders": agg.count(over=["7d", "30d"]),  # orders_7d, orders_30d
        "spend": agg.sum("amount", over=["7d", "30d"]),  # spend_7d, spend_30d
        "last_status": agg.last("status", over="30d"),  # last_status_30d
        "mean_order": Expression("spend_30d / nullif(orders_30d, 0)"),
    },
    description="How a customer has been ordering lately",
    owner="growth",
)

customer_profile = FeatureView(
    "customer_profile",
    entity=customer,
    source=customers,
    features={"country": "country", "is_company": "vat_id IS NOT NULL"},
    description="Who a customer is",
)

churn = FeatureService(
    "churn",
    features=[customer_orders, customer_profile],
    request={"basket": "double"},
    derived={"basket_vs_mean": "basket / nullif(mean_order, 0)"},
)
