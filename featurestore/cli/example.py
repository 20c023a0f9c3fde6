"""The files that `init` writes: a small, working project about a web shop, to start from."""

SETTINGS = """\
# Settings of this project; the commented lines show defaults and alternatives. Each is also a variable, FEATURESTORE_<NAME>.
# `featurestore doctor` checks them.

# home = ".featurestore"          # folder of all default state: catalog, tables, online store
# definitions = "definitions"     # folder of definition files
# memory_limit = "4GB"            # memory limit of a query; default: 80 % of the machine's
# port = 8080                     # where `featurestore serve` listens, on 127.0.0.1
# online = "redis://localhost:6379/0"                 # instead of LMDB in the home folder
# warehouse = "s3://bucket/warehouse"                 # instead of a folder in the home folder
# catalog = { type = "rest", uri = "http://localhost:8181" }   # instead of SQLite in the home folder
"""

IGNORED = """\
.featurestore/
"""

DEFINITIONS = '''\
"""Which customers of a web shop will stop buying? After an edit, `featurestore plan` shows what it would change."""

from featurestore import Entity, Expression, FeatureService, FeatureView, Source, agg

# An entity is what features describe, identified by its key columns ---------------------------------------------------

customer = Entity("customer", keys="customer_id", description="A registered buyer")

# Sources are rows with a time. Paths are relative to the project; for an Iceberg table write table="shop.orders" ------

orders = Source("orders", path="data/orders.parquet", timestamp="ordered_at", where="status <> 'draft'")
customers = Source("customers", path="data/customers.parquet", timestamp="updated_at")

# Windows over the past, one row per day and customer; a window ends before the day starts, so it never sees the future -

customer_orders = FeatureView(
    "customer_orders",
    entity=customer,
    source=orders,
    every="1d",
    features={
        "orders": agg.count(over=["7d", "30d"]),  # orders_7d and orders_30d
        "spend": agg.sum("amount", over="30d"),
        "cancelled": agg.count(where="status = 'cancelled'", over="30d"),
        "mean_basket": Expression("spend_30d / nullif(orders_30d, 0)"),  # from features of this view
    },
    description="How a customer has been ordering lately",
)

# Without windows, a row is valid from its own time until the next one of the same customer ----------------------------

customer_profile = FeatureView(
    "customer_profile",
    entity=customer,
    source=customers,
    features={"country": "country", "newsletter": "newsletter"},
    description="Profile data that customers entered",
)

# What one model needs: features, request fields that only the caller knows, and features derived from both ------------

churn = FeatureService(
    "churn",
    features=[customer_orders["orders_7d", "orders_30d", "mean_basket"], customer_profile],
    request={"basket": "double"},
    derived={"basket_vs_mean": "basket / nullif(mean_basket, 0)"},
    description="Will this customer stop buying?",
)
'''

TEXTS = {"featurestore.toml": SETTINGS, ".gitignore": IGNORED, "definitions/shop.py": DEFINITIONS}
