"""The SQL of every kind of view and join, reviewed like code: `pytest tests/compiler/test_golden.py --update` rewrites it."""

from pathlib import Path

import pytest

from featurestore import Entity, Expression, FeatureService, FeatureView, Source, agg
from featurestore.compiler import log_diff
from featurestore.compiler.events import compile_events
from featurestore.compiler.point_in_time import as_of_join
from featurestore.compiler.service_plan import ViewUse
from featurestore.compiler.views import compile_view
from featurestore.dsl.view import FeatureView as View

GOLDEN = Path(__file__).parent / "golden"
COLUMNS = {
    "customer_id": "BIGINT",
    "shop": "VARCHAR",
    "at": "TIMESTAMP",
    "made": "TIMESTAMP",
    "price": "DOUBLE",
    "pieces": "INTEGER",
    "status": "VARCHAR",
}

customer = Entity("customer", keys="customer_id")
basket = Entity("basket", keys=["shop", "customer_id"])
orders = Source("orders", table="shop.orders", timestamp="at", columns={"amount": "price * pieces"}, where="status <> 'pending'")
versioned = Source("orders", table="shop.orders", timestamp="at", created="made")

VIEWS = {
    "row": FeatureView(
        "row", entity=customer, source=orders, features={"price": "price", "big": "amount > 100", "twice": Expression("price * 2")}
    ),
    "row_with_created": FeatureView("row_with_created", entity=basket, source=versioned, ttl="7d", features=["status", "pieces"]),
    "counts": FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over=["1d", "7d"])}),
    "sums_and_shares": FeatureView(
        "sums_and_shares",
        entity=basket,
        source=versioned,
        every="1h",
        features={
            "spend": agg.sum("price", over="3h"),
            "pieces": agg.sum("pieces", over="3h"),
            "share": agg.mean("status = 'paid'", over="1d", where="pieces > 1"),
            "top": agg.max("price", over="1d"),
            "state": agg.last("status", over="1d"),
            "per_piece": Expression("spend_3h / nullif(pieces_3h, 0)"),
        },
    ),
    "ordered": FeatureView(
        "ordered",
        entity=customer,
        source=orders,
        every="15m",
        features={
            "states": agg.count_distinct("status", over="1h"),
            "spread": agg.stddev("price", over="1h"),
            "median": agg.percentile("price", q=0.5, over="2h"),
            "recent": agg.last_n("status", n=3, over="1h", where="pieces > 0"),
        },
    ),
}


def use(ttl: int | None) -> ViewUse:
    return ViewUse(
        "profile",
        "profile",
        1,
        "profile_v1",
        (("shop", "at_shop"), ("customer_id", "customer_id")),
        (("status", "profile_status"), ("pieces", "profile_pieces")),
        ("VARCHAR", "BIGINT"),
        ("VARCHAR", "INTEGER"),
        ttl,
        None,
    )


def compile_to_text(view: View) -> str:
    events = compile_events(view, list(COLUMNS))
    kinds = {"price": "DOUBLE", "pieces": "INTEGER", "status": "VARCHAR", "status = 'paid'": "BOOLEAN", "pieces > 1": "BOOLEAN"}
    types = {item.name: kinds.get(item.text, "BOOLEAN") for item in events.inputs}
    return f"-- counts\n{events.counts};\n\n{compile_view(view, events, types).sql}\n"


JOINS = {
    "join_now": as_of_join(use(None), "spine", "log", known="now", corrected=False),
    "join_now_corrected_ttl": as_of_join(use(3_600_000_000), "spine", "log", known="now", corrected=True),
    "join_then": as_of_join(use(None), "spine", "log", known="then", corrected=True),
    "join_now_deletions": as_of_join(use(None), "spine", "log", known="now", corrected=True, deletions=True),
    "join_then_deletions": as_of_join(use(None), "spine", "log", known="then", corrected=True, deletions=True),
    "diff": log_diff.appended_rows(["shop", "customer_id"], {"status": "VARCHAR", "share": "DOUBLE"}, versioned=False),
    "diff_versioned": log_diff.appended_rows(["shop", "customer_id"], {"status": "VARCHAR", "shares": "FLOAT[]"}, versioned=True),
}
TEXTS = {**{f"view_{name}": compile_to_text(view) for name, view in VIEWS.items()}, **{name: f"{sql};\n" for name, sql in JOINS.items()}}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_sql_is_the_reviewed_one(name: str, pytestconfig: pytest.Config) -> None:
    path = GOLDEN / f"{name}.sql"
    if pytestconfig.getoption("--update"):
        path.write_text(TEXTS[name])
    assert TEXTS[name] == path.read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sql")} == set(TEXTS)


def test_a_service_takes_views_and_selections() -> None:
    service = FeatureService("s", features=[VIEWS["row"], VIEWS["counts"]["n_1d"]])
    assert [selection.names for selection in service.selections] == [None, ("n_1d",)]
