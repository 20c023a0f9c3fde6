"""Shares and recipients: what they hold, who may read, and what is refused."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import FeatureStore
from featurestore.access.key_ring import KeyRing
from featurestore.access.registry_follower import KEPT_SECONDS
from featurestore.errors import Conflict, FeatureStoreError, Forbidden, NotFound, RequestError
from featurestore.sharing.readable import ReadableShares
from featurestore.sharing.recipients import RECIPIENT_KEYS, principal_of
from featurestore.sharing.shares import read_sharing
from featurestore.sharing.sharing_book import SharingBook
from tests import shop, worlds


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """A store with one source table and the share `partners`."""
    with FeatureStore(home=tmp_path / "home") as store:
        worlds.load_source(store, "shop.orders", pa.table({"id": [1], "amount": [2.0]}))
        store.create_share("partners")
        yield store


def readable(store: FeatureStore, name: str) -> ReadableShares:
    """What a recipient may read now."""
    return ReadableShares.of(read_sharing(store.backend.runtime), name)


def test_a_share_has_what_was_put_into_it(store: FeatureStore) -> None:
    shared = store.add_to_share("Partners", "table shop.orders", "Sales.Orders")
    (listed,) = store.shares()
    assert listed == shared
    assert (listed.name, [(table.table, table.on) for table in listed.tables]) == ("partners", [("sales.orders", "TABLE shop.orders")])
    store.create_recipient("acme", "partners")
    assert store.shares()[0].recipients == ("acme",)
    assert store.remove_from_share("partners", "TABLE featurestore.shop.orders").tables == ()
    assert store.remove_share("partners").name == "partners"
    assert store.shares() == []


def test_names_are_unique_in_any_case_and_bounded(store: FeatureStore) -> None:
    with pytest.raises(Conflict, match="already"):
        store.create_share("PARTNERS")
    for name in ("", "a.b", "../x", "a b", "a" * 101, "ä", "a/b", "a%2e"):
        with pytest.raises(RequestError):
            store.create_share(name)
        with pytest.raises(RequestError):
            store.create_recipient(name)
    for name in ("orders", "a.b.c", ".orders", "sales.", "sales.../x", "sales.a b"):
        with pytest.raises(RequestError, match="as_name"):
            store.add_to_share("partners", "TABLE shop.orders", name)
    store.add_to_share("partners", "TABLE shop.orders")
    with pytest.raises(Conflict, match=r"already, as shop\.orders"):
        store.add_to_share("partners", "TABLE shop.orders", "other.name")
    worlds.load_source(store, "shop.other", pa.table({"id": [1]}))
    with pytest.raises(Conflict, match="give another name"):
        store.add_to_share("partners", "TABLE shop.other", "shop.orders")


@pytest.mark.parametrize(
    "on, error",
    [
        ("TABLE registry.keys", "the store's own"),
        ("TABLE featurestore.registry.shares", "the store's own"),
        ("TABLE system.audit", "the store's own"),
        ("TABLE features.customer_orders_v1", "as its view"),
        ("TABLE orders", "with its namespace"),
        ("TABLE shop.nothing", "no table"),
        ("TABLE ../../etc.passwd", "not the name of a table"),
        ("VIEW nothing", "no view"),
        ("TRAINING_SET churn-0", "no table"),
        ("SERVICE churn", "cannot be shared"),
        ("VIEW", "a kind and a name"),
        ("shop.orders", "cannot be shared"),
    ],
)
def test_what_cannot_be_shared_is_named(store: FeatureStore, on: str, error: str) -> None:
    with pytest.raises(FeatureStoreError, match=error):
        store.add_to_share("partners", on, "some.name")
    assert store.shares()[0].tables == ()


def test_a_column_that_recipients_cannot_read_is_named_when_it_is_added(store: FeatureStore) -> None:
    for name, column in {
        "times": pa.array([[1]], pa.list_(pa.time64("us"))),
        "structs": pa.array([{"at": 1}], pa.struct([("at", pa.time64("us"))])),
    }.items():
        worlds.load_source(store, f"shop.{name}", pa.table({"plain": [1], "odd": column}))
        with pytest.raises(RequestError, match=r"the column 'odd' of shop\..* has the Iceberg type time"):
            store.add_to_share("partners", f"TABLE shop.{name}")
    worlds.load_source(store, "shop.cases", pa.table({"id": [1], "ID": [2]}))
    with pytest.raises(RequestError, match="differ only in case"):
        store.add_to_share("partners", "TABLE shop.cases")


def test_putting_into_a_share_takes_both_rights(store: FeatureStore) -> None:
    him = store.as_principal("him")
    for privilege in ("SHARE", "READ"):
        with pytest.raises(Forbidden):
            him.add_to_share("partners", "TABLE shop.orders")
        assert him.shares() == []
        store.grant(privilege, "TABLE shop.orders", "USER him")
    with pytest.raises(Forbidden, match="SHARE on CATALOG"):
        him.create_share("mine")
    assert him.add_to_share("partners", "TABLE shop.orders").tables[0].added_by == "him"
    (seen,) = him.shares()
    assert (seen.recipients, len(seen.tables)) == ((), 1), "who reads it is for those who decide that"
    with pytest.raises(Forbidden):
        him.create_recipient("acme", "partners")


def test_the_profile_is_shown_once_and_never_stored(store: FeatureStore) -> None:
    made = store.create_recipient("acme", "partners", "pii", timedelta(hours=1))
    assert made.profile["endpoint"] == "http://127.0.0.1:8080/delta-sharing"
    assert made.profile["shareCredentialsVersion"] == 1
    token = str(made.profile["bearerToken"])
    assert token.startswith("fsr_")
    assert token not in repr(made)
    (listed,) = store.recipients()
    assert (listed.shares, listed.groups, listed.state) == (("partners",), ("pii",), "live")
    secret = token.split("_", 2)[2].encode()
    for path in Path(store.settings.home).rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), path
    assert store.keys() == [], "it is no API key"


def test_who_is_under_a_policy_makes_no_recipient_that_is_not(store: FeatureStore) -> None:
    him = store.as_principal("him", ["analysts"])
    store.grant("SHARE", "CATALOG", "USER him")
    for groups in ("pii", ["analysts", "pii"]):
        with pytest.raises(Forbidden, match="group pii"):
            him.create_recipient("mine", "partners", groups)
    assert (him.recipients(), store.keys()) == ([], [])
    assert him.create_recipient("mine", "partners", "analysts").recipient.groups == ("analysts",)
    with pytest.raises(Forbidden, match="group pii"):
        him.change_recipient("mine", groups=["analysts", "pii"])
    store.create_recipient("acme", "partners", ["pii", "analysts"])
    with pytest.raises(Forbidden, match="group pii"):
        him.rotate_recipient("acme")
    assert len(store.recipients()[0].keys) == 1
    assert him.change_recipient("acme", shares=[]).groups == ("analysts", "pii")
    assert him.change_recipient("acme", groups="analysts").groups == ("analysts",)
    assert him.rotate_recipient("acme").key


def test_two_keys_live_at_once(store: FeatureStore) -> None:
    first = store.create_recipient("acme", "partners")
    second = store.rotate_recipient("acme", "1d")
    with pytest.raises(Conflict, match=first.key):
        store.rotate_recipient("acme")
    ring = KeyRing(store.backend.runtime, registry=RECIPIENT_KEYS)
    ring.refresh()
    for made in (first, second):
        found = ring.find(str(made.profile["bearerToken"]))
        assert found is not None
        assert found.key == made.key
    assert [key.state for key in store.revoke_recipient("acme", first.key).keys] == ["live", "revoked"]
    ring.refresh()
    assert ring.find(str(first.profile["bearerToken"])) is None
    assert ring.find_by_id(first.key) is None
    assert ring.find_by_id(second.key) is not None
    with pytest.raises(NotFound, match="key"):
        store.revoke_recipient("acme", "000000000000")
    other = store.create_recipient("other")
    with pytest.raises(NotFound, match="key"):
        store.revoke_recipient("acme", other.key)


def test_a_revoked_recipient_reads_nothing_and_its_keys_do_not_come_back(store: FeatureStore) -> None:
    old = store.create_recipient("acme", "partners")
    with pytest.raises(Conflict, match="already"):
        store.create_recipient("ACME")
    assert store.recipients()[0].state == "live", "a refused creation revokes nothing"
    assert store.revoke_recipient("acme").state == "revoked"
    with pytest.raises(Forbidden, match="revoked"):
        readable(store, "acme")
    for verb in (store.rotate_recipient, store.revoke_recipient, store.change_recipient):
        with pytest.raises(NotFound):
            verb("acme")
    store.create_recipient("acme")
    assert {key.id: key.state for key in store.recipients()[0].keys}[old.key] == "revoked"
    assert readable(store, "acme").names == []


def test_another_share_of_the_same_name_is_another_share(store: FeatureStore) -> None:
    store.add_to_share("partners", "TABLE shop.orders")
    store.create_recipient("acme", "partners")
    assert readable(store, "acme").table("PARTNERS", "Shop", "Orders").on.name == "shop.orders"
    store.remove_share("partners")
    store.create_share("partners")
    store.add_to_share("partners", "TABLE shop.orders")
    assert readable(store, "acme").names == []
    with pytest.raises(NotFound):
        readable(store, "acme").table("partners", "shop", "orders")
    assert store.change_recipient("acme", shares=["partners"]).shares == ("partners",)
    assert readable(store, "acme").names == ["partners"]
    with pytest.raises(NotFound, match="share"):
        store.change_recipient("acme", shares=["nothing"])


def test_changes_at_the_same_time_are_all_kept(store: FeatureStore) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store.create_share, [f"share{number}" for number in range(6)]))
    assert [share.name for share in store.shares()] == ["partners", *(f"share{number}" for number in range(6))]


def test_a_server_knows_shares_for_a_while_without_the_catalog(store: FeatureStore) -> None:
    now = 0.0
    book = SharingBook(store.backend.runtime, lambda: now)
    with pytest.raises(FeatureStoreError, match="cannot be read"):
        book.sharing()
    book.refresh()
    assert set(book.sharing().shares) == {"partners"}
    store.create_share("press")
    assert set(book.sharing().shares) == {"partners"}
    book.refresh()
    assert set(book.sharing().shares) == {"partners", "press"}
    now = KEPT_SECONDS
    with pytest.raises(FeatureStoreError, match="cannot be read"):
        book.sharing()


def test_a_recipient_is_a_principal_without_rights(store: FeatureStore) -> None:
    store.create_recipient("acme", groups=["pii"])
    recipient = read_sharing(store.backend.runtime).recipient("acme")
    principal = principal_of(recipient)
    assert (principal.name, sorted(principal.groups), principal.is_administrator) == ("recipient:acme", ["pii"], False)


def test_views_and_training_sets(own_shop: FeatureStore) -> None:
    own_shop.create_share("partners")
    made = own_shop.training_set("churn", shop.spine(), "asked_at", "churned")
    own_shop.add_to_share("partners", "VIEW customer_orders")
    shared = own_shop.add_to_share("partners", f"TRAINING_SET {made.id}")
    assert [table.table for table in shared.tables] == ["features.customer_orders", f"training_sets.{made.id}".lower()]
    with pytest.raises(NotFound, match="training set"):
        own_shop.add_to_share("partners", f"TRAINING_SET {made.id[:-4]}0000")
