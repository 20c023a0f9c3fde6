"""Whoever creates an object owns it: it is listed, handed over, and forgotten with the object."""

from collections.abc import Callable, Sequence

import pytest

from featurestore import FeatureService, FeatureStore, Grant, Mask, TablePolicy
from featurestore.access.principal import LOCAL, Principal
from featurestore.access.rights import Rights
from featurestore.errors import Forbidden, NotFound
from featurestore.pipelines.maintenance import removal
from featurestore.store import PrincipalStore
from tests import shop
from tests.access.test_principal_store import BUILD, build

SCHEMA = {"k": "bigint", "x": "double"}


@pytest.fixture
def store(own_shop: FeatureStore) -> FeatureStore:
    """The shop, applied by the operator."""
    return own_shop


def administrator(store: FeatureStore, name: str = "platform") -> PrincipalStore:
    """The verbs of an administrator."""
    return PrincipalStore(store, Rights(Principal(name, is_administrator=True)))


def change(verb: Callable[[str, str, str], object], texts: Sequence[str], to: str) -> None:
    """Grant or revoke several privileges."""
    for text in texts:
        privilege, _, on = text.partition(" ON ")
        verb(privilege, on, to)


def owners(store: FeatureStore) -> dict[str, str]:
    """The owners by object, as `show grants` lists them."""
    return {grant.on: grant.to for grant in store.grants() if grant.privilege == "OWN"}


def test_what_is_created_is_owned(store: FeatureStore) -> None:
    assert owners(store) == {}, "the operator owns nothing"
    administrator(store, LOCAL.name).create_table("anybody", "k", schema=SCHEMA)
    assert owners(store) == {}, "nor does a server without credentials"
    platform = administrator(store)
    platform.create_table("spending", "k", schema=SCHEMA)
    platform.apply([*shop.DEFINITIONS, FeatureService("second", features=[shop.customer_orders])])
    assert owners(store) == {"VIEW spending": "USER platform", "SERVICE second": "USER platform"}, "what was there already is not"
    commits = len(store.catalog.load_table("registry.grants").metadata.snapshots)
    platform.apply([*shop.DEFINITIONS, *(FeatureService(name, features=[shop.customer_orders]) for name in "abc")])
    assert len(store.catalog.load_table("registry.grants").metadata.snapshots) == commits + 1, "however many there are"
    platform.apply(
        [Grant("OWN", on="SERVICE a", to="USER her"), Grant("OWN", on="SERVICE b", to="USER him"), Grant("USE", "CATALOG", "USER him")]
    )
    assert {name: owners(store)[f"SERVICE {name}"] for name in "abc"} == {"a": "USER her", "b": "USER him", "c": "USER platform"}
    for name in "abc":
        store.remove_service(name)
    platform.apply([*shop.DEFINITIONS, FeatureService("second", features=[shop.customer_profile])])
    administrator(store, "other").create_table("spending", "k", schema={**SCHEMA, "y": "double"})
    assert owners(store)["VIEW spending"] == "USER platform", "another column makes nobody the owner"
    # The same name, without the rights of an administrator.
    owner, stranger = store.as_principal("platform"), store.as_principal("stranger")
    assert owner.write_table("spending", [{"k": 1, "x": 2.0}]).rows == 1
    owner.grant("READ", "VIEW spending", "USER stranger")
    assert stranger.view("spending").name == "spending"
    with pytest.raises(Forbidden):
        owner.view("customer_orders")


def test_a_training_set_is_its_builders(store: FeatureStore) -> None:
    change(store.grant, BUILD, "USER her")
    her, him = store.as_principal("her"), store.as_principal("him")
    made = build(her)
    assert owners(store) == {"TABLE training_sets.mine": "USER her"}
    change(store.revoke, BUILD, "USER her")
    assert her.get_training_set(made.id).id == made.id
    her.grant("READ", "TABLE training_sets.mine", "USER him")
    assert him.get_training_set(made.id).id == made.id
    change(store.grant, BUILD, "USER him")
    build(him)
    assert owners(store) == {"TABLE training_sets.mine": "USER her"}, "it was there"


def test_the_owner_hands_it_over(store: FeatureStore) -> None:
    administrator(store, "her").create_table("spending", "k", schema=SCHEMA)
    her, him = store.as_principal("her"), store.as_principal("him", ["analysts"])
    her.grant("MANAGE", "VIEW spending", "USER him")
    with pytest.raises(Forbidden, match="OWN"):
        him.grant("OWN", "VIEW spending", "USER him")
    her.grant("OWN", "VIEW spending", "GROUP analysts")
    assert owners(store) == {"VIEW spending": "GROUP analysts"}
    with pytest.raises(Forbidden):
        her.view("spending")
    him.grant("OWN", "VIEW spending", "USER him")
    assert [(grant.privilege, grant.to) for grant in him.grants("VIEW spending")] == [("MANAGE", "USER him"), ("OWN", "USER him")]
    him.revoke("OWN", "VIEW spending", "USER him")
    assert owners(store) == {}
    store.grant("OWN", "NAMESPACE shop", "USER her")
    her.grant("READ", "TABLE shop.orders", "USER him")


def test_what_is_removed_is_nobodys(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one of its name is neither its owner's, nor readable by whom it was granted to, nor shared. Its policy stays."""
    platform, her = administrator(store), store.as_principal("her")
    second = FeatureService("second", features=[shop.customer_orders])
    table, others = TablePolicy("spending", masks={"x": Mask("NULL")}), Grant("READ", on="VIEW customer_orders", to="USER her")

    def create() -> None:
        platform.create_table("spending", "k", schema=SCHEMA)
        platform.apply([*shop.DEFINITIONS, second])

    create()
    store.apply([table, others, Grant("MANAGE", on=second, to="USER her"), Grant("READ", on="VIEW spending", to="USER her")])
    store.create_share("partners")
    for on in ("VIEW spending", "VIEW customer_orders"):
        store.add_to_share("partners", on)
    before = store.grants()
    store.remove_view("spending", dry_run=True)
    store.remove_service("second", dry_run=True)
    assert store.grants() == before
    with monkeypatch.context() as patch:
        patch.setattr(removal, "_drop", kill)
        with pytest.raises(KeyboardInterrupt):
            store.remove_view("spending")
    store.remove_view("spending")
    with monkeypatch.context() as patch:
        patch.setattr(removal, "revoke_all", kill)
        with pytest.raises(KeyboardInterrupt):
            store.remove_service("second")
    with pytest.raises(NotFound):
        store.remove_service("second")
    assert [grant.on for grant in store.grants()] == ["VIEW customer_orders"]
    store.create_table("spending", "k", schema=SCHEMA)
    store.apply([*shop.DEFINITIONS, second])
    assert [table.on for table in store.shares()[0].tables] == ["VIEW customer_orders"]
    for principal in (store.as_principal("platform"), her):
        for read in (principal.view, principal.service):
            with pytest.raises(Forbidden):
                read("spending" if read == principal.view else "second")
    assert [rule.on for rule in store.policies()] == ["VIEW spending"]


def kill(*_: object) -> None:
    raise KeyboardInterrupt
