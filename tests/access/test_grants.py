"""Grants: their words, what holds for what, their registry, and who may grant."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.access import grant_book
from featurestore.access.claim import Claim
from featurestore.access.grant_book import GrantBook
from featurestore.access.grants import Grant, add_grant, grants_table, read_grants
from featurestore.access.principal import Principal
from featurestore.access.privileges import GIVEN_BY, Kind, Privilege, Securable, parents, parse_grantee, parse_securable
from featurestore.access.registry_follower import KEPT_SECONDS
from featurestore.access.rights import Rights
from featurestore.access.standing import check_standing
from featurestore.errors import Forbidden, NotFound, NotReady, RequestError
from featurestore.lakehouse import scans, tables
from featurestore.values import times
from tests.granting import grant

HIM = Principal("him", frozenset({"analysts"}))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """An empty store."""
    with FeatureStore(home=tmp_path / "home") as store:
        yield store


def rights_of(store: FeatureStore, principal: Principal = HIM) -> Rights:
    """The rights of a principal, with the grants as they are now."""
    book = GrantBook(store.backend.runtime)
    book.refresh()
    return Rights(principal, book)


def test_words() -> None:
    for text, kind, name in (
        ("view customer_orders", Kind.VIEW, "customer_orders"),
        ("TABLE shop.orders", Kind.TABLE, "shop.orders"),
        ("TABLE featurestore.shop.orders", Kind.TABLE, "shop.orders"),
        ("NAMESPACE featurestore.shop", Kind.NAMESPACE, "shop"),
        ("MODEL churn of customers", Kind.MODEL, "churn of customers"),
        ("CATALOG", Kind.CATALOG, "featurestore"),
        ("catalog featurestore", Kind.CATALOG, "featurestore"),
    ):
        assert parse_securable(text, "featurestore") == Securable(kind, name)
    for wrong in (
        "VIEW",
        "customer_orders",
        "VIEWS x",
        "TABLE orders",
        "TABLE a..b",
        "CATALOG other",
        "",
        "VIEW x\ny",
        "TABLE " + "a." * 300,
    ):
        with pytest.raises(RequestError, match="on"):
            parse_securable(wrong, "featurestore")
    assert str(parse_grantee("group data team")) == "GROUP data team"
    for wrong in ("ROLE x", "USER", "USER  ", "analysts"):
        with pytest.raises(RequestError, match="to"):
            parse_grantee(wrong)
    with pytest.raises(RequestError, match="did you mean 'READ'"):
        Grant.parse("REED", "VIEW x", "USER y", "featurestore")


def test_what_holds_for_what() -> None:
    assert [str(place) for place in parents(Securable(Kind.TABLE, "a.b.c"), "cat", "features")] == [
        "TABLE a.b.c",
        "NAMESPACE a.b",
        "NAMESPACE a",
        "CATALOG cat",
    ]
    for kind in (Kind.ENTITY, Kind.SOURCE, Kind.VIEW, Kind.SERVICE):
        assert [str(place) for place in parents(Securable(kind, "v"), "cat", "features")] == [
            f"{kind} v",
            "NAMESPACE features",
            "CATALOG cat",
        ]
    assert [str(place) for place in parents(Securable(Kind.MODEL, "m"), "cat", "features")] == ["MODEL m", "CATALOG cat"]
    assert GIVEN_BY[Privilege.USE] == set(Privilege)
    assert GIVEN_BY[Privilege.READ_ONLINE] == {Privilege.READ_ONLINE, Privilege.READ, Privilege.MANAGE, Privilege.OWN}
    for alone in (Privilege.APPROVE_MODEL, Privilege.SHARE):
        assert GIVEN_BY[alone] == {alone, Privilege.OWN}
    assert all(Privilege.OWN in given for given in GIVEN_BY.values()), "an owner has all privileges"


def test_a_grant_holds_until_it_is_revoked(store: FeatureStore) -> None:
    assert store.grants() == []
    granted = store.grant("read", "VIEW customer_orders", "GROUP analysts")
    assert (granted.privilege, granted.on, granted.to) == ("READ", "VIEW customer_orders", "GROUP analysts")
    assert store.grant("READ", "VIEW customer_orders", "GROUP analysts").granted == granted.granted, "once is enough"
    table = tables.load(store.backend.runtime.catalog, grants_table(store.settings))
    assert scans.read_snapshot(grant(table), table.snapshot_id).read_all().num_rows == 1
    rights = rights_of(store)
    for privilege, expected in ((Privilege.READ, True), (Privilege.READ_ONLINE, True), (Privilege.USE, True), (Privilege.WRITE, False)):
        assert rights.has(privilege, Kind.VIEW, "customer_orders") is expected
    assert not rights.has(Privilege.USE, Kind.VIEW, "customer_profile")
    assert not rights.has(Privilege.USE, Kind.SERVICE, "customer_orders"), "another kind of this name is another object"
    assert not rights_of(store, Principal("analysts")).has(Privilege.USE, Kind.VIEW, "customer_orders"), "a user is no group"
    assert store.revoke("READ", "VIEW customer_orders", "GROUP analysts") == granted
    assert store.grants() == []
    assert not rights_of(store).has(Privilege.USE, Kind.VIEW, "customer_orders")
    with pytest.raises(NotFound, match="no grant 'READ to GROUP analysts'"):
        store.revoke("READ", "VIEW customer_orders", "GROUP analysts")
    store.grant("READ", "VIEW customer_orders", "GROUP analysts")
    assert rights_of(store).has(Privilege.READ, Kind.VIEW, "customer_orders")


def test_grants_are_inherited(store: FeatureStore) -> None:
    store.grant("READ", "NAMESPACE shop", "USER him")
    rights = rights_of(store)
    assert rights.has(Privilege.READ, Kind.TABLE, "shop.orders")
    assert not rights.has(Privilege.READ, Kind.TABLE, "shopping.orders")
    assert not rights.has(Privilege.USE, Kind.VIEW, "shop")
    store.grant("USE", "CATALOG", "GROUP analysts")
    rights = rights_of(store)
    for kind in Kind:
        assert rights.has(Privilege.USE, kind, "a.b")
        assert not rights.has(Privilege.WRITE, kind, "a.b")


def test_the_last_event_holds_also_if_a_clock_is_behind(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.grant("READ", "VIEW v", "USER him")
    before = times.now() - 3_600_000_000
    monkeypatch.setattr(times, "now", lambda: before)
    store.revoke("READ", "VIEW v", "USER him")
    assert store.grants() == []
    store.grant("READ", "VIEW v", "USER him")
    assert len(store.grants()) == 1


def test_grants_at_once_are_all_recorded(store: FeatureStore) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: store.grant("READ", f"VIEW v{number % 3}", "USER him"), range(6)))
    assert sorted(grant.on for grant in store.grants()) == ["VIEW v0", "VIEW v1", "VIEW v2"]


def test_lists_are_of_an_object_or_a_grantee(store: FeatureStore) -> None:
    for on, to in (("VIEW a", "USER him"), ("VIEW b", "USER him"), ("VIEW a", "GROUP analysts")):
        store.grant("USE", on, to)
    assert [grant.to for grant in store.grants(on="VIEW a")] == ["USER him", "GROUP analysts"]
    assert [grant.on for grant in store.grants(to="USER him")] == ["VIEW a", "VIEW b"]
    assert [grant.on for grant in store.grants("VIEW b", "GROUP analysts")] == []


def test_who_manages_an_object_grants_what_they_have(store: FeatureStore) -> None:
    him = store.as_principal("him", ["analysts"])
    for verb in (him.grant, him.revoke):
        with pytest.raises(Forbidden, match="MANAGE on MODEL churn"):
            verb("READ_ONLINE", "MODEL churn", "USER her")
    store.grant("MANAGE", "MODEL churn", "GROUP analysts")
    assert him.grant("READ_ONLINE", "MODEL churn", "USER her").granted_by == "him"
    for privilege, on in (("APPROVE_MODEL", "MODEL churn"), ("READ_ONLINE", "MODEL other"), ("USE", "CATALOG")):
        with pytest.raises(Forbidden):
            him.grant(privilege, on, "USER him")
    store.grant("USE", "VIEW secret", "USER her")
    assert [grant.on for grant in him.grants()] == ["MODEL churn", "MODEL churn"]
    assert [grant.on for grant in store.as_principal("her").grants()] == ["MODEL churn", "VIEW secret"]
    assert store.as_principal("nobody").grants() == []


def test_an_answer_is_kept_until_the_grants_change(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.grant("USE", "VIEW v", "USER him")
    book = GrantBook(store.backend.runtime)
    book.refresh()
    rights = Rights(HIM, book)
    assert rights.sees(Kind.VIEW, "v")
    with monkeypatch.context() as warm:
        warm.setattr(grant_book, "parents", lambda *_: pytest.fail("a warm answer is one look into a dict"))
        assert rights.sees(Kind.VIEW, "v")
    store.revoke("USE", "VIEW v", "USER him")
    book.refresh()
    assert not rights.sees(Kind.VIEW, "v")
    monkeypatch.setattr(grant_book, "ANSWERS", 3)
    for number in range(10):
        assert not rights.sees(Kind.VIEW, f"v{number}")
    assert len(book._answers) <= 3


def test_grants_do_not_hold_for_long_without_the_catalog(store: FeatureStore) -> None:
    store.grant("USE", "VIEW v", "USER him")
    now = [1000.0]
    book = GrantBook(store.backend.runtime, lambda: now[0])
    with pytest.raises(NotReady):
        Rights(HIM, book).sees(Kind.VIEW, "v")
    book.refresh()
    assert Rights(HIM, book).sees(Kind.VIEW, "v")
    now[0] += KEPT_SECONDS
    with pytest.raises(NotReady):
        Rights(HIM, book).sees(Kind.VIEW, "v")
    assert Rights(Principal("her", is_administrator=True), book).sees(Kind.VIEW, "v")


def test_hidden_names_are_not_near_misses(store: FeatureStore) -> None:
    store.grant("USE", "VIEW customer_orders", "USER him")
    error = NotFound("view", "customer", ["customer_orders", "customer_secrets"])
    shown = rights_of(store).without_hidden_names(error)
    assert "customer_orders" in shown.message
    assert "secrets" not in f"{shown}{shown.details}"
    for kind in ("training set", "schema", "file", "API key"):
        hidden = rights_of(store).without_hidden_names(NotFound(kind, "x", ["secrets"], "secrets"))
        assert "secrets" not in f"{hidden}{hidden.details}"
    store.grant("USE", "CATALOG", "USER him")
    assert rights_of(store).without_hidden_names(error) is error


def test_the_needs_of_a_job_are_checked_again(store: FeatureStore) -> None:
    runtime, needs = store.backend.runtime, [(Privilege.READ, Securable(Kind.SERVICE, "churn"))]
    claim = Claim.from_dict(Claim(HIM, needs).to_dict())
    assert claim == Claim(HIM, needs)
    with pytest.raises(Forbidden, match="READ on SERVICE churn"):
        check_standing(runtime, claim)
    add_grant(runtime, Grant.parse("READ", "SERVICE churn", "GROUP analysts", "featurestore"), None)
    check_standing(runtime, claim)
    with pytest.raises(Forbidden, match="administrator"):
        check_standing(runtime, Claim(HIM))
    check_standing(runtime, Claim(Principal("her", is_administrator=True)))
    assert len(read_grants(runtime)) == 1
