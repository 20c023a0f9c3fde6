"""Plan and apply: steps as data, versions by fingerprint, all problems at once, atomic commits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, Expression, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import CommitConflict, DefinitionError, NotFound
from tests.worlds import STAMP, load_source

customer = Entity("customer", keys="customer_id")
orders = Source("orders", table="shop.orders", timestamp="at")
counts = FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over="7d")}, owner="growth")
profile = FeatureView("profile", entity=customer, source=orders, features={"status": "status"})
churn = FeatureService("churn", features=[counts, profile])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(home=tmp_path / "home")
    rows = {"customer_id": pa.array([1, 2], pa.int64()), "at": pa.array([0, 1], STAMP), "status": ["a", "b"], "price": [1.5, 2.5]}
    load_source(store, "shop.orders", pa.table(rows))
    return store


def actions(store: FeatureStore, *definitions: object) -> dict[str, tuple[str, int]]:
    return {f"{step.kind} {step.name}": (step.action, step.version) for step in store.plan(list(definitions)).steps}


def test_a_plan_is_data_and_writes_nothing(store: FeatureStore) -> None:
    plan = store.plan([churn])
    assert [(step.action, step.kind, step.name) for step in plan.steps] == [
        ("create", "entity", "customer"),
        ("create", "source", "orders"),
        ("create", "view", "counts"),
        ("create", "view", "profile"),
        ("create", "service", "churn"),
    ]
    assert plan.changed
    assert plan.to_dict()["steps"][2]["sql"].startswith("CREATE TEMP TABLE")
    assert "create  view counts" in str(plan)
    assert store.views() == []
    with pytest.raises(NotFound):
        store.catalog.load_table("features.counts_v1") if store.views() else store.view("counts")


@pytest.mark.slow
def test_applying_twice_changes_nothing(store: FeatureStore) -> None:
    store.apply([churn])
    assert not store.plan([churn]).changed
    before = store.catalog.load_table("registry.definitions").current_snapshot()
    store.apply([churn])
    assert store.catalog.load_table("registry.definitions").current_snapshot() == before


def test_other_words_keep_the_version_and_another_meaning_makes_one(store: FeatureStore) -> None:
    store.apply([churn])
    words = replace(counts, description="How often", owner="sales", tags={"pii": "no"})
    assert actions(store, words)["view counts"] == ("update words", 1)
    store.apply([words])
    assert store.view("counts")["owner"] == "sales"
    spaced = replace(profile, features={"status": "  status  -- as it was"})
    assert actions(store, spaced)["view profile"] == ("update words", 1)
    for meaning in (
        replace(counts, every="1h"),
        replace(counts, features={"n": agg.count(over="14d")}),
        replace(counts, source=replace(orders, where="price > 1")),
        replace(counts, features={**counts.declared, "twice": Expression("n_7d * 2")}),
    ):
        assert actions(store, meaning)["view counts"] == ("new version", 2)
    assert actions(store, replace(profile, ttl="3d"))["view profile"] == ("new version", 2)


@pytest.mark.slow
def test_a_service_moves_to_a_new_version_when_it_is_materialized(store: FeatureStore) -> None:
    store.apply([churn])
    store.materialize()
    wider = replace(counts, features={"n": agg.count(over=["7d", "14d"])})
    store.apply([FeatureService("churn", features=[wider, profile])])
    assert store.backend.service_plan("churn").version == 1
    assert store.online_features("churn", [{"customer_id": 1}]).features == ("n_7d", "status")
    early = store.training_set("churn", [{"customer_id": 1, "t": "1970-01-03"}], "t")
    assert early.manifest["warnings"][0] == "service churn version 2 is not materialized yet; version 1 was used"
    store.materialize()
    assert store.online_features("churn", [{"customer_id": 1}]).features == ("n_7d", "n_14d", "status")
    assert store.rebuild(early.id).features == ["n_7d", "status"]


@pytest.mark.slow
def test_an_older_version_is_kept_fresh_while_something_reads_it(store: FeatureStore) -> None:
    other = FeatureService("other", features=[counts])
    store.apply([churn, other])
    store.materialize()
    wider = replace(counts, features={"n": agg.count(over=["7d", "14d"])})
    store.apply([FeatureService("churn", features=[wider, profile])])
    assert [run.table for run in store.materialize("counts")] == ["counts_v2", "counts_v1"]
    assert store.view("counts")["versions"][0]["materialized_through"] > store.view("counts")["materialized_through"]
    store.apply([FeatureService("other", features=[wider])])
    assert [run.table for run in store.materialize("counts")] == ["counts_v2"]


def test_what_others_applied_is_left_alone(store: FeatureStore) -> None:
    store.apply([churn])
    assert [step.name for step in store.plan([profile]).steps] == ["customer", "orders", "profile"]
    store.apply([profile])
    assert [view["name"] for view in store.views()] == ["counts", "profile"]


def test_a_plan_that_someone_overtook_is_refused(store: FeatureStore) -> None:
    first, second = store.plan([counts]), store.plan([profile])
    store.apply(first)
    with pytest.raises(CommitConflict, match="plan again"):
        store.apply(second)
    assert [view["name"] for view in store.views()] == ["counts"]
    assert store.catalog.list_tables("features") == [("features", "counts_v1")]


def test_every_problem_of_every_file_is_told_with_its_line(store: FeatureStore, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "common.py").write_text('from featurestore import Entity\ncustomer = Entity("customer", keys="customer_id")\n')
    (folder / "good.py").write_text(
        "from featurestore import FeatureView, Source\nfrom common import customer\n"
        'orders = Source("orders", table="shop.orders", timestamp="att")\n'
        'a = FeatureView("a", entity=customer, source=orders,\n    features={"s": "status"})\n'
        'b = FeatureView("b", entity=customer, source=Source("o", table="shop.ordrs", timestamp="at"), features=["status"])\n'
        'c = FeatureView("c", entity=customer, source=Source("p", table="shop.orders", timestamp="at"),\n'
        '    features={\n        "x": "statuss",\n        "y": "price + status",\n        "z": "now()",\n    })\n'
    )
    (folder / "bad.py").write_text("from featurestore import Entity\n\nx = Entity('x', kees=['a'])\n")
    (folder / "worse.py").write_text("def (\n")
    with pytest.raises(DefinitionError) as caught:
        store.plan(folder)
    messages = {(Path(str(problem.file)).name, problem.line): problem.message for problem in caught.value.problems}
    assert messages[("good.py", 3)] == "no column 'att'; did you mean 'at'?"
    assert messages[("good.py", 6)] == "no table 'shop.ordrs'; did you mean 'shop.orders'?"
    assert messages[("good.py", 9)] == "no column 'statuss'; did you mean 'status'?"
    assert messages[("good.py", 11)].startswith("NOW() in 'now()' gives another answer at every call")
    assert messages[("bad.py", 3)].startswith("TypeError: Entity.__init__() got an unexpected keyword argument 'kees'")
    assert messages[("worse.py", 1)].startswith("is not valid Python")
    (folder / "bad.py").unlink()
    (folder / "worse.py").unlink()
    (folder / "good.py").write_text((folder / "good.py").read_text().replace('"z": "now()"', '"z": "price"'))
    with pytest.raises(DefinitionError) as caught:
        store.plan(folder)
    messages = {(Path(str(problem.file)).name, problem.line): problem.message for problem in caught.value.problems}
    assert messages[("good.py", 9)] == "no column 'statuss'; did you mean 'status'?"
    assert messages[("good.py", 10)] == "'price + status' does not work on these types: price is DOUBLE, status is VARCHAR"
    assert store.views() == []


def test_what_is_no_view_or_no_source_is_told_with_its_line(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from featurestore import Entity, FeatureService, FeatureView\n"
        'customer = Entity("customer", keys="customer_id")\n'
        'view = FeatureView(\n    "a",\n    entity=customer,\n    source="orders",\n    features=["status"],\n)\n'
        'service = FeatureService("s", features=[5])\n'
    )
    with pytest.raises(DefinitionError) as caught:
        store.plan(tmp_path)
    messages = {problem.line: str(problem).partition(": ")[2] for problem in caught.value.problems}
    assert messages[6] == "view 'a', source: is 'orders'; it must be an object of Source"
    assert messages[9] == "service 's', features: 5 is not a view or a selection of one"


@pytest.mark.parametrize(
    "view,message",
    [
        (replace(counts, ttl="3d"), "takes no ttl"),
        (replace(counts, features={"n": agg.count(over="36h")}), "not a multiple of every='1d'"),
        (replace(counts, every="1x"), "is not a duration"),
        (replace(counts, features={"n": "price"}), "row SQL in an aggregate view"),
        (replace(profile, features={"n": agg.count(over="7d")}), "needs a time grid"),
        (replace(profile, features={"feature_timestamp": "at"}), "key or time column"),
        (replace(profile, features={"customer_id": "1"}), "key or time column"),
        (replace(profile, features={}), "is empty"),
        (replace(profile, features={"a": "sum(price)"}), "aggregates rows"),
        (replace(profile, features={"a": "(SELECT 1)"}), "contains a subquery"),
        (replace(profile, features={"a": "read_text('x')"}), "not on the allowlist"),
        (replace(profile, features={"a": "price; DROP TABLE x"}), "more than one statement"),
        (replace(profile, features={"a": "random()"}), "another answer at every call"),
        (replace(profile, name="a b"), "is not a name"),
        (replace(profile, features={"__fs_x": "price"}), "is not a feature name"),
        (replace(counts, features={"n": agg.sum("status", over="1d")}), "takes numbers; 'status' is VARCHAR"),
        (replace(counts, features={"n": agg.percentile("price", q=2, over="1d")}), "between 0 and 1"),
        (replace(counts, features={"n": agg.last_n("price", n=0, over="1d")}), "whole number above 0"),
        (replace(counts, features={"n": agg.count(over="7d"), "e": Expression("n_8d")}), "did you mean 'n_7d'"),
        (replace(profile, source=replace(orders, path="x.parquet")), "exactly one of table=, path=, sql= and schema="),
        (replace(profile, source=replace(orders, table=None, sql="SELECT * FROM read_parquet('x')")), "not on the allowlist"),
        (replace(profile, source=replace(orders, table=None, path="none/*.parquet")), "no file 'none/*.parquet'"),
        (
            replace(profile, source=replace(orders, timestamp="status")),
            """not a timestamp or date; make one with columns={'event_time': 'CAST("status" AS TIMESTAMP)'} and timestamp='event_time'""",
        ),
        (replace(profile, source=replace(orders, timestamp="price")), """columns={'event_time': 'to_timestamp("price")'}"""),
        (replace(profile, entity=Entity("customer", keys="customer")), "did you mean 'customer_id'"),
    ],
)
def test_a_wrong_view_is_refused_in_words(store: FeatureStore, view: FeatureView, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        store.apply([view])
    assert message in str(caught.value)
    assert store.views() == []


@pytest.mark.parametrize(
    "service,message",
    [
        (FeatureService("s", features=[counts["n_8d"]]), "no feature 'n_8d' in counts; did you mean 'n_7d'?"),
        (FeatureService("s", features=[profile, profile]), "'profile' is listed twice"),
        (FeatureService("s", features=[profile.aliased("p", keys={"customer": "x"})]), "did you mean 'customer_id'"),
        (FeatureService("s", features=[profile], request={"status": "string"}), "also a feature of profile"),
        (FeatureService("s", features=[profile], request={"x": "floaty"}), "is not a type"),
        (FeatureService("s", features=[profile], derived={"d": "staus"}), "did you mean 'status'"),
        (FeatureService("s", features=[profile], derived={"status": "1"}), "also a feature"),
        (FeatureService("s", features=[]), "is empty"),
    ],
)
def test_a_wrong_service_is_refused_in_words(store: FeatureStore, service: FeatureService, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        store.plan([service])
    assert message in str(caught.value)


WHATEVER: Any = agg
AN_EXPRESSION: Any = Expression
MISSHAPEN: list[tuple[Any, dict[str, Any], str]] = [
    (profile, {"features": None}, "features.None: is None; write row SQL"),
    (profile, {"features": [Expression("price")]}, "is not a feature name"),
    (profile, {"features": {1: "price"}}, "features: 1 is not a feature name"),
    (counts, {"features": {"n": WHATEVER.sum(5, over="1d")}}, "features.n: column=5 is not text; write row SQL"),
    (counts, {"features": {"n": WHATEVER.count(where=["price"], over="1d")}}, "features.n: where=['price'] is not text; write row SQL"),
    (counts, {"features": {"n": agg.count(over="1d"), "e": AN_EXPRESSION(None)}}, "features.e: is None; write row SQL as text"),
    (profile, {"source": "orders"}, "is 'orders'; it must be an object of Source"),
    (orders, {"where": True}, "where: is True; write row SQL as text"),
    (orders, {"columns": ["price"]}, "columns: is ['price']; give a dict of names"),
    (orders, {"columns": {"x": 1}}, "columns.x: is 1; write row SQL as text"),
    (orders, {"timestamp": ["at"]}, "timestamp: is ['at']; give text"),
    (
        FeatureService("s", features=[profile]),
        {"request": ["basket"]},
        "request: is ['basket']; give a dict of names, such as {'basket': 'double'}",
    ),
    (FeatureService("s", features=[profile]), {"derived": "basket / 2"}, "derived: is 'basket / 2'; give a dict of names"),
    (FeatureService("s", features=[profile]), {"derived": {1: "status"}}, "derived: is {1: 'status'}; give a dict of names"),
]


@pytest.mark.parametrize("item, change, message", MISSHAPEN, ids=[str(case[1])[:40] for case in MISSHAPEN])
def test_what_has_another_shape_than_it_should_is_told_by_field(
    store: FeatureStore, item: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        store.plan([replace(item, **change)])
    assert message in str(caught.value)


def test_two_definitions_of_one_name_are_refused(store: FeatureStore) -> None:
    with pytest.raises(DefinitionError, match="another view of this name"):
        store.plan([profile, replace(profile, ttl="1d")])


@pytest.mark.slow
def test_a_definition_that_an_earlier_version_has_leads_back_to_it(store: FeatureStore) -> None:
    store.apply([churn])
    store.materialize(end="2026-03-01")
    other = replace(counts, features={"n": agg.count(over="14d")})
    store.apply([FeatureService("churn", features=[other, profile])])
    store.materialize(end="2026-03-01")
    assert (store.view("counts")["version"], store.backend.service_plan("churn").version) == (2, 2)
    plan = store.plan([churn])
    steps = {step.name: step for step in plan.steps if step.action != "unchanged"}
    assert {name: (step.action, step.version, step.reads) for name, step in steps.items()} == {
        "counts": ("roll back", 1, ()),
        "churn": ("roll back", 1, ()),
    }
    assert steps["counts"].reason == "equal to v1, which exists; v2 remains"
    assert steps["churn"].reason.startswith("counts moves to v1; equal to v1")
    store.apply(plan)
    assert not store.plan([churn]).changed
    assert (store.view("counts")["version"], store.service("churn")["version"]) == (1, 1)
    assert [run.table for run in store.materialize(end="2026-03-01")] == ["counts_v1", "profile_v1"]
    # Forward again, and then on to a version that none ever had.
    assert actions(store, other)["view counts"] == ("roll back", 2)
    third = replace(counts, features={"n": agg.count(over="21d")})
    store.apply([third])
    assert (store.view("counts")["version"], [row["version"] for row in store.view("counts")["versions"]]) == (3, [2, 1, 3])
    assert actions(store, third)["view counts"] == ("unchanged", 3)


def test_words_stay_those_that_were_applied_last_when_a_version_is_rolled_back(store: FeatureStore) -> None:
    other = replace(counts, features={"n": agg.count(over="14d")})
    store.apply([counts])
    store.apply([other])
    store.apply([replace(counts, owner="sales")])
    shown = store.view("counts")
    assert (shown["version"], shown["owner"]) == (1, "sales")
    assert actions(store, replace(counts, owner="sales"))["view counts"] == ("unchanged", 1)
    assert actions(store, replace(counts, owner="growth"))["view counts"] == ("update words", 1)
