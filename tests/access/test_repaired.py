"""Registries of keys and grants that lose files: no repair brings back what was revoked."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore import FeatureStore, Mask, TablePolicy
from featurestore.access import keys
from featurestore.access.key_registry import API_KEYS
from featurestore.access.key_ring import KeyRing
from featurestore.access.voided import VOID_UNTIL
from featurestore.errors import Forbidden
from featurestore.pipelines.maintenance import repair
from featurestore.sharing.recipients import RECIPIENT_KEYS
from featurestore.values import times
from tests import shop


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """An empty store."""
    with FeatureStore(home=tmp_path / "home") as store:
        yield store


def lose_last_file(store: FeatureStore, name: str) -> None:
    """Delete the file that the last commit to a table added."""
    lose_files(store, name, 1)


def lose_files(store: FeatureStore, name: str, count: int) -> None:
    """Delete the newest files of a table."""
    table = store.catalog.load_table(name)
    added = table.inspect.entries().sort_by([("sequence_number", "descending")]).column("data_file").to_pylist()
    for file in added[:count]:
        Path(file["file_path"].removeprefix("file://")).unlink()


def is_accepted(store: FeatureStore, token: str) -> bool:
    """Whether a server would accept a token."""
    ring = KeyRing(store.backend.runtime)
    ring.refresh()
    assert ring.has_keys, "a server asks for credentials"
    return ring.find(token) is not None


def test_a_revoked_key_stays_revoked(store: FeatureStore) -> None:
    stolen, other = store.create_key("nightly"), store.create_key("platform", administrator=True)
    store.revoke_key(stolen.key.id)
    lose_last_file(store, "registry.keys")
    (told,) = store.repair(dry_run=True)
    assert (told.missing, "create them again" in told.todo) == (1, True)
    assert store.repair() == [told]
    assert {key.state for key in list(store.keys())} == {"revoked"}
    assert not is_accepted(store, stolen.token)
    assert not is_accepted(store, other.token), "nobody knows which of them the lost file revoked"
    new = store.create_key("nightly")
    assert is_accepted(store, new.token)
    store.revoke_key(new.key.id)
    assert not is_accepted(store, new.token)


def test_without_any_row_left_servers_still_ask_for_credentials(store: FeatureStore) -> None:
    first = store.create_key("platform", administrator=True)
    lose_last_file(store, "registry.keys")
    (told,) = store.repair()
    assert told.back_to is None
    assert store.keys() == []
    assert keys.had_keys(store.backend.runtime)
    assert not is_accepted(store, first.token)


def test_a_revoked_grant_stays_revoked(store: FeatureStore) -> None:
    store.grant("USE", "CATALOG", "USER him")
    store.grant("USE", "CATALOG", "USER her")
    store.revoke("USE", "CATALOG", "USER him")
    lose_last_file(store, "registry.grants")
    (told,) = store.repair()
    assert "grant again" in told.todo
    assert store.grants() == []
    for name in ("him", "her"):
        with pytest.raises(Forbidden):
            store.as_principal(name).entities()
    store.grant("USE", "CATALOG", "USER her")
    assert store.as_principal("her").entities() == []
    with pytest.raises(Forbidden):
        store.as_principal("him").entities()


def test_a_policy_that_is_lost_opens_nothing(store: FeatureStore) -> None:
    shop.add(store, "shop.orders", shop.order_rows())
    store.grant("READ", "TABLE shop.orders", "USER him")
    store.create_share("partners")
    for mask in ("0.0", "NULL"):
        store.apply([TablePolicy("shop.orders", masks={"amount": Mask(mask)})])
    lose_last_file(store, "registry.policies")
    (told,) = store.repair()
    assert "apply definitions with all policies" in told.todo
    assert store.grants() == []
    assert store.shares() == []


def test_a_share_that_was_taken_back_stays_so(store: FeatureStore) -> None:
    shop.add(store, "shop.orders", shop.order_rows())
    store.create_share("partners")
    store.add_to_share("partners", "TABLE shop.orders")
    first = store.create_recipient("acme", "partners")
    store.remove_from_share("partners", "TABLE shop.orders")
    store.revoke_recipient("acme", first.key)
    for name in ("registry.shares", "registry.recipient_keys"):
        lose_last_file(store, name)
    assert {"make them again" in told.todo or "rotate them" in told.todo for told in store.repair()} == {True}
    assert store.shares() == []
    assert store.recipients() == []
    store.create_share("partners")
    made = store.create_recipient("acme", "partners")
    assert {key.id: key.state for key in made.recipient.keys} == {first.key: "revoked", made.key: "live"}


def test_what_is_granted_after_a_repair_holds_though_a_clock_was_ahead(store: FeatureStore) -> None:
    store.create_key("nightly")
    store.grant("USE", "CATALOG", "USER him")
    ahead = str(times.now() + 3_600_000_000)
    for name in ("registry.keys", "registry.grants"):
        with store.catalog.load_table(name).transaction() as transaction:
            transaction.set_properties({VOID_UNTIL: ahead})
    assert store.grants() == []
    assert is_accepted(store, store.create_key("nightly").token)
    store.grant("USE", "CATALOG", "USER her")
    assert [grant.to for grant in store.grants()] == ["USER her"]
    for name in ("registry.keys", "registry.grants"):
        lose_last_file(store, name)
    store.repair()
    for name in ("registry.keys", "registry.grants"):
        assert int(store.catalog.load_table(name).properties[VOID_UNTIL]) >= int(ahead)


def test_a_registry_of_which_this_release_knows_nothing_is_not_rolled_back(store: FeatureStore) -> None:
    store.create_key("nightly")
    rows = store.catalog.load_table("registry.keys").scan().to_arrow()
    table = store.catalog.create_table("registry.later", schema=rows.schema)
    table.append(rows)
    snapshot = table.current_snapshot()
    lose_last_file(store, "registry.later")
    (told,) = store.repair()
    assert "it is not rolled back" in told.todo
    assert store.catalog.load_table("registry.later").current_snapshot() == snapshot


def test_every_registry_says_what_is_lost(store: FeatureStore) -> None:
    runtime = store.backend.runtime
    source = Path(repair.__file__).parents[2]
    names = {name for path in source.rglob("*.py") for name in re.findall(r"registry_namespace\}\.(\w+)", path.read_text())}
    names |= {name for registry in (API_KEYS, RECIPIENT_KEYS) for name in (registry.table, registry.uses)}
    assert {f"registry.{name}" for name in names} == set(repair.lost_in_registries(runtime))
