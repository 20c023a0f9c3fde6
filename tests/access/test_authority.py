"""Definitions of principals who are no administrators: what they may apply, what is refused with its reason, and what they are not told."""

from dataclasses import replace
from typing import Any

import pytest

from featurestore import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Grant,
    Mask,
    RowFilter,
    Source,
    TablePolicy,
    connect,
)
from featurestore.errors import CommitConflict, Conflict, DefinitionError, Forbidden
from featurestore.store import PrincipalStore
from tests import shop
from tests.access.test_owners import owners

AUTHOR = ["MANAGE ON NAMESPACE features", "READ ON TABLE shop.orders"]
spent = FeatureView("spent", entity=shop.customer, source=shop.orders, features={"spent": "amount"})


def view(sql: str | None = None, **more: Any) -> FeatureView:
    """A view of a query, or of a source as it is given."""
    source = Source("mine", sql=sql, timestamp="updated_at") if sql is not None else more.pop("source")
    return FeatureView("mine", entity=shop.customer, source=source, **{"features": {"c": "country"}, **more})


@pytest.fixture
def store(own_shop: FeatureStore) -> FeatureStore:
    """The shop, applied by the operator."""
    return own_shop


def give(store: FeatureStore, texts: list[str], to: str = "USER her") -> PrincipalStore:
    """Grant, and return the verbs of the principal."""
    for text in texts:
        privilege, _, on = text.partition(" ON ")
        store.grant(privilege, on, to)
    return store.as_principal(to.split()[1])


def refused(principal: PrincipalStore, *definitions: Any) -> list[tuple[str, str | None]]:
    """What definitions need that the principal does not have; a plan and an apply say the same."""
    found = []
    for verb in (principal.plan, principal.apply):
        with pytest.raises(Forbidden) as caught:
            verb(list(definitions))
        found.append([(refusal["needs"], refusal["on"]) for refusal in caught.value.details["refused"]])
        for needs, on in found[-1]:
            assert f"needs {needs}{'' if on is None else f' on {on}'}" in str(caught.value)
    assert found[0] == found[1]
    return found[0]


def test_an_author_applies_uses_and_removes_what_is_theirs(store: FeatureStore) -> None:
    her = give(store, AUTHOR)
    shelf = Entity("shelf", keys="customer_id")
    mine = [FeatureService("mine", features=[spent]), shelf, Grant("READ_ONLINE", on="SERVICE mine", to="USER him")]
    plan = her.plan(mine)
    assert {step.name for step in plan.steps if step.action == "create"} >= {"spent", "mine", "shelf"}
    assert store.view("customer_orders").name not in str(plan.to_dict()["steps"])
    her.apply(plan)
    assert owners(store) == dict.fromkeys(("VIEW spent", "SERVICE mine", "ENTITY shelf"), "USER her")
    store.revoke("MANAGE", "NAMESPACE features", "USER her")
    (run,) = her.materialize("spent")
    assert run.rows_appended == 4
    assert store.as_principal("him").online_features("mine", [{"customer_id": 1}]).rows == ((50.0,),)
    # Still without the right on the namespace: what she owns she changes, as long as she may read what it reads.
    changed = FeatureView("spent", entity=shop.customer, source=shop.orders, features={"spent": "amount * 2"})
    use = ["USE ON ENTITY customer", "USE ON SOURCE orders"]
    give(store, use)
    assert [step.action for step in her.apply([changed]).steps if step.kind == "view"] == ["new version"]
    store.revoke("READ", "TABLE shop.orders", "USER her")
    assert refused(her, spent) == [("READ", "TABLE shop.orders")]
    with pytest.raises(Conflict) as needed:
        her.remove_view("spent")
    assert needed.value.details["services"] == ["mine v1"], "her own may be named"
    assert her.remove_service("mine").versions == (1,)
    assert her.remove_view("spent").versions == (1, 2)
    assert owners(store) == {"ENTITY shelf": "USER her"}


def test_what_is_refused_and_why(store: FeatureStore) -> None:
    her, him = give(store, [*AUTHOR, "READ ON TABLE shop.profiles"]), store.as_principal("him")
    manage = [("MANAGE", f"{kind} {name}") for kind, name in (("ENTITY", "customer"), ("SOURCE", "orders"), ("VIEW", "spent"))]
    assert refused(him, spent) == [*manage, ("READ", "TABLE shop.orders")]
    store.grant("USE", "CATALOG", "USER him")
    assert refused(him, spent) == [manage[2], ("READ", "TABLE shop.orders")]
    assert refused(him, shop.customer_orders, FeatureService("s", features=[shop.customer_orders])) == [
        ("MANAGE", "SERVICE s"),
        ("READ", "VIEW customer_orders"),
    ]
    administrator = ("the rights of an administrator", None)
    assert refused(her, TablePolicy("customer_profile")) == [administrator]
    assert refused(her, view(source=Source("files", path="x.parquet", timestamp="t"))) == [administrator]
    assert refused(her, Grant("APPROVE_MODEL", on="MODEL churn", to="USER her")) == [("MANAGE", "MODEL churn")]
    assert refused(her, Grant("OWN", on="VIEW customer_orders", to="USER her")) == [("OWN", "VIEW customer_orders")]
    assert refused(her, Grant("MANAGE", on="CATALOG", to="USER her")) == [("MANAGE", "CATALOG featurestore")]
    for name in ("registry.keys", "shop.secrets", "shop.nothing", "no.such"):
        assert refused(her, view(f"SELECT * FROM {name}")) == [("READ", f"TABLE {name}")]
    give(store, ["READ ON CATALOG"])
    assert refused(her, view("SELECT * FROM registry.keys")) == [("READ of the whole table", "TABLE registry.keys")]
    with pytest.raises(Forbidden, match="files"):
        her.plan("definitions")


READS = {
    "star": "SELECT * FROM shop.profiles",
    "column": "SELECT customer_id, updated_at, country || credit AS country FROM shop.profiles",
    "condition": "SELECT customer_id, updated_at, country FROM shop.profiles WHERE Credit > 0",
    "renamed": "SELECT customer_id, updated_at, x AS country FROM shop.profiles AS p(customer_id, x, y, z, s, t, updated_at)",
    "joined": "SELECT customer_id, updated_at, country FROM shop.profiles JOIN (SELECT 1.0 AS credit) USING (credit)",
    "order": "SELECT customer_id, updated_at, country FROM shop.profiles ORDER BY credit LIMIT 1",
}
"""Queries that depend on the masked column."""


def test_a_view_reads_raw_rows_so_its_author_must_see_them_all(store: FeatureStore) -> None:
    her = give(store, [*AUTHOR, "READ ON TABLE shop.profiles", "READ ON NAMESPACE features"])
    masks = {"credit": Mask("NULL", unless=["pii"])}
    store.apply([TablePolicy(name, masks=masks) for name in ("shop.profiles", "customer_profile")])
    whole = [("READ of the whole table", "TABLE shop.profiles")]
    for name, sql in READS.items():
        assert refused(her, view(sql)) == whole, name
    table: dict[str, Any] = {"source": Source("mine", table="shop.profiles", timestamp="updated_at")}
    for features in ({"c": "credit"}, {"c": "CASE WHEN credit > 0 THEN country END"}, ["credit"]):
        assert refused(her, view(**table, features=features)) == whole
    assert refused(her, view(source=Source("mine", table="shop.profiles", timestamp="updated_at", where="credit > 0"))) == whole
    feature_table = Source("mine", table="features.customer_profile_v1", timestamp="feature_timestamp")
    assert refused(her, view(source=feature_table, features={"c": "credit"})) == [
        ("READ of the whole table", "TABLE features.customer_profile_v1")
    ]
    # What she sees she may use, also beside what she does not see.
    open_views = [view(**table), view("SELECT customer_id, updated_at, country, count(*) OVER () AS n FROM shop.profiles")]
    for allowed in open_views:
        assert her.plan([allowed]).changed
    # A view with masks would show under another name what they hide.
    assert refused(her, FeatureView("customer_profile", entity=shop.customer, source=shop.profiles, features={"d": "country"})) == [
        ("the rights of an administrator", None)
    ]
    pii = store.as_principal("her", ["pii"])
    with pytest.raises(DefinitionError, match="give it a mask"):
        pii.plan([view(**table, features={"c": "credit"})])
    store.apply([TablePolicy("shop.profiles", rows=RowFilter("country = 'AT'")), TablePolicy("customer_profile", declassify_rows=True)])
    for filtered in open_views:
        assert refused(her, filtered) == whole


def test_what_others_have_made_is_used_without_a_look_at_what_it_reads(store: FeatureStore) -> None:
    use = [f"USE ON {name}" for name in ("ENTITY customer", "SOURCE orders", "SOURCE profiles", "VIEW customer_profile")]
    him = give(store, [*use, "MANAGE ON SERVICE his", "READ ON VIEW customer_orders"], "USER him")
    his = FeatureService("his", features=[shop.customer_orders["spend_30d"]])
    # The table has got another type, which would be another version of the view for its owner.
    with store.catalog.load_table("shop.orders").update_schema() as update:
        update.rename_column("amount", "amount_eur")
    plan = him.apply([his])
    assert {step.name: step.action for step in plan.steps} == {
        "customer": "unchanged",
        "orders": "unchanged",
        "customer_orders": "unchanged",
        "his": "create",
    }
    assert [step.reason for step in plan.steps if step.name == "customer_orders"] == [""]
    assert plan.others == (("source", "profiles"), ("view", "customer_profile"))
    assert refused(him, FeatureService("his", features=[shop.customer_profile])) == [("READ", "VIEW customer_profile")]


def test_a_plan_tells_nothing_of_what_one_may_not_see(store: FeatureStore) -> None:
    him = give(store, ["MANAGE ON VIEW orders_of", "MANAGE ON ENTITY o", "MANAGE ON SOURCE s", "READ ON TABLE shop.spine"], "USER him")
    shop.add(store, "shop.spine", shop.spine())
    told = []
    for table in ("shop.orders", "shop.ordera"):
        with pytest.raises(Forbidden) as caught:
            him.plan([FeatureView("orders_of", Entity("o", "k"), Source("s", table=table, timestamp="t"), {"x": "amout"})])
        told.append(f"{caught.value}{caught.value.details}".replace(table, "NAME"))
    assert told[0] == told[1]
    source = Source("s", table="shop.spine", timestamp="asked_at")
    own = FeatureView("orders_of", Entity("o", "customer_id"), source, {"x": "basket"})
    plan = him.plan([own])
    assert plan.others == ()
    store.apply([Entity("meanwhile", keys="secret_id")])
    him.apply([own])
    plan = him.plan([FeatureView("orders_of", Entity("o", "customer_id"), source, {"x": "basket * 2"})])
    store.apply([FeatureView("orders_of", Entity("o", "customer_id"), source, {"x": "basket * 3"}), Entity("later", keys="secret_id")])
    with pytest.raises(CommitConflict) as conflict:
        him.apply(plan)
    assert "later" not in f"{conflict.value}{conflict.value.details}"
    with pytest.raises(Forbidden):
        store.as_principal("her").apply(store.plan([own]))


def test_a_version_that_lacks_a_masked_feature_is_read_all_the_same(store: FeatureStore) -> None:
    store.apply([replace(shop.customer_profile, features={**shop.customer_profile.declared, "twice": "score * 2"})])
    store.apply([TablePolicy("customer_profile", masks=dict.fromkeys(("twice", "credit"), Mask("NULL")))])
    him = give(store, ["READ ON SERVICE plain", "READ ON NAMESPACE features"], "USER him")
    spine = "SELECT customer_id, feature_timestamp, country AS c, credit AS masked FROM features.customer_profile_v1"
    rows = him.point_in_time("plain", spine, "feature_timestamp")
    assert (set(rows["c"].to_pylist()), set(rows["masked"].to_pylist())) == ({"AT", "CH"}, {None})


@pytest.mark.slow
def test_over_http(store: FeatureStore) -> None:
    tokens = {name: store.create_key(name, administrator=name == "admin").token for name in ("admin", "her", "him")}
    give(store, AUTHOR)
    give(store, ["USE ON CATALOG"], "USER him")
    with shop.serving(store) as url:
        with connect(url, token=tokens["him"]) as him, pytest.raises(Forbidden, match="MANAGE on VIEW spent"):
            him.apply([spent])
        with connect(url, token=tokens["her"]) as her:
            assert her.apply([spent]).changed
            assert her.create_table("written", "k", schema={"k": "bigint", "x": "double"}).name == "written"
            assert her.remove_view("spent").versions == (1,)
    assert owners(store) == {"VIEW written": "USER her"}
