"""Every verb of a store, called by a principal without rights, and with exactly those that it needs."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from featurestore import FeatureStore, FeatureView, RowFilter, Source, Store, TablePolicy
from featurestore.access.rights import OPERATOR
from featurestore.errors import Conflict, Forbidden, NotFound
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.store import PrincipalStore
from featurestore.store.feature_store import confine
from tests import shop, worlds

BUILD = ["READ ON SERVICE churn", "WRITE ON TABLE training_sets.mine", "READ ON TABLE training_sets.mine"]
CATALOG = ["USE ON CATALOG"]
ADMINISTRATOR = None
"""No grant is enough."""
ENTITIES, REQUEST = [{"customer_id": 1}], [{"basket": 1.0}]
CANARIES = ("customer_orders", "customer_profile", "shop.orders", "shop.profiles", "amount", "country", "1970-02-03", "12.30")


def join(store: Store, spine: Any = None) -> Any:
    """A join that is not stored."""
    return store.point_in_time("churn", shop.spine() if spine is None else spine, "asked_at")


def build(store: Store, spine: Any = None) -> Any:
    """A training set."""
    return store.training_set("churn", shop.spine() if spine is None else spine, "asked_at", "churned", name="mine")


def identifier(store: Store) -> str:
    """The id of the training set that the fixture made."""
    assert isinstance(store, PrincipalStore)
    return next(made.id for made in store._store.training_sets() if made.name == "mine")


NEW = FeatureView("new", entity=shop.customer, source=shop.orders, features={"spent": "amount"})
"""A view that is not there yet."""
PUSHED = [{"customer_id": 1, "at": "2026-01-01T00:00:00Z", "x": 1.0}]
Verb = tuple[list[str] | None, Callable[[Store], Any]]
VERBS: dict[str, Verb] = {
    "plan": (["USE ON NAMESPACE features"], lambda store: store.plan(shop.DEFINITIONS)),
    "apply": (["READ ON TABLE shop.orders", "MANAGE ON NAMESPACE features"], lambda store: store.apply([NEW])),
    "materialize": (["WRITE ON VIEW customer_orders", "READ ON VIEW customer_orders"], lambda store: store.materialize("customer_orders")),
    "create_table": (["MANAGE ON VIEW t"], lambda store: store.create_table("t", "k", schema={"k": "bigint", "x": "double"})),
    "write_table": (["WRITE ON VIEW spending"], lambda store: store.write_table("spending", [{"k": 1, "x": 2.0}])),
    "push": (["WRITE ON SOURCE clicks"], lambda store: store.push("clicks", PUSHED)),
    "write": (
        ["WRITE ON SOURCE clicks"],
        lambda store: store.write("clicks", PUSHED),
    ),
    "history": (CATALOG, lambda store: store.history("customer_orders")),
    "create_training_set": (ADMINISTRATOR, lambda store: store.create_training_set(shop.spine(), [], "churned")),
    "publish": (["MANAGE ON VIEW customer_orders"], lambda store: store.publish("customer_orders")),
    "verify_online": (ADMINISTRATOR, lambda store: store.verify_online()),
    "remove_version": (["MANAGE ON VIEW customer_orders"], lambda store: store.remove_version("customer_orders", 1, dry_run=True)),
    "remove_view": (["MANAGE ON VIEW customer_orders"], lambda store: store.remove_view("customer_orders", dry_run=True)),
    "remove_service": (["MANAGE ON SERVICE churn"], lambda store: store.remove_service("churn", dry_run=True)),
    "remove_training_set": (ADMINISTRATOR, lambda store: store.remove_training_set(identifier(store), dry_run=True)),
    "erase": (ADMINISTRATOR, lambda store: store.erase("customer", -1, dry_run=True)),
    "erasures": (ADMINISTRATOR, lambda store: store.erasures()),
    "maintain": (ADMINISTRATOR, lambda store: store.maintain(dry_run=True)),
    "repair": (ADMINISTRATOR, lambda store: store.repair(dry_run=True)),
    "training_set": (BUILD, build),
    "get_training_set": (["READ ON TABLE training_sets.mine"], lambda store: store.get_training_set(identifier(store))),
    "rebuild": (["READ ON TABLE training_sets.mine"], lambda store: store.rebuild(identifier(store))),
    "compare": (["READ ON NAMESPACE training_sets"], lambda store: store.compare(identifier(store), identifier(store))),
    "point_in_time": (["READ ON SERVICE churn"], join),
    "online_features": (["READ_ONLINE ON SERVICE churn"], lambda store: store.online_features("churn", ENTITIES, REQUEST)),
    "entities": (CATALOG, lambda store: store.entities()),
    "sources": (CATALOG, lambda store: store.sources()),
    "views": (["USE ON VIEW customer_orders"], lambda store: store.views()),
    "view": (["USE ON VIEW customer_orders"], lambda store: store.view("customer_orders")),
    "services": (["USE ON SERVICE churn"], lambda store: store.services()),
    "service": (["USE ON SERVICE churn"], lambda store: store.service("churn")),
    "training_sets": (["USE ON TABLE training_sets.mine"], lambda store: store.training_sets()),
    "models": ([], lambda store: store.models()),
    "impact": (CATALOG, lambda store: store.impact("shop.orders")),
    "lineage": (CATALOG, lambda store: store.lineage("customer_orders")),
    "tag": (ADMINISTRATOR, lambda store: store.tag("release")),
    "tags": (CATALOG, lambda store: store.tags()),
    "remove_tag": (ADMINISTRATOR, lambda store: store.remove_tag("release")),
    "explain_retention": (ADMINISTRATOR, lambda store: store.explain_retention()),
    "replay": (ADMINISTRATOR, lambda store: store.replay("r")),
    "traffic": (["USE ON MODEL churn"], lambda store: store.traffic("churn")),
    "set_traffic": (["APPROVE_MODEL ON MODEL churn"], lambda store: store.set_traffic("churn", {})),
    "compare_traffic": (ADMINISTRATOR, lambda store: store.compare_traffic("churn")),
    "audit": (ADMINISTRATOR, lambda store: store.audit("models:/churn/1")),
    "audit_log": (ADMINISTRATOR, lambda store: store.audit_log()),
    "audit_log_heads": (ADMINISTRATOR, lambda store: store.audit_log_heads()),
    "verify_audit_log": (ADMINISTRATOR, lambda store: store.verify_audit_log()),
    "create_key": (ADMINISTRATOR, lambda store: store.create_key("mine", administrator=True)),
    "keys": (ADMINISTRATOR, lambda store: store.keys()),
    "revoke_key": (ADMINISTRATOR, lambda store: store.revoke_key("0")),
    "grant": (["MANAGE ON VIEW customer_orders"], lambda store: store.grant("READ", "VIEW customer_orders", "USER her")),
    "revoke": (["MANAGE ON VIEW customer_orders"], lambda store: store.revoke("READ", "VIEW customer_orders", "USER her")),
    "grants": ([], lambda store: store.grants()),
    "policies": ([], lambda store: store.policies()),
    "create_share": (["SHARE ON CATALOG"], lambda store: store.create_share("mine")),
    "remove_share": (["SHARE ON CATALOG"], lambda store: store.remove_share("partners")),
    "add_to_share": (
        ["SHARE ON VIEW customer_profile", "READ ON VIEW customer_profile"],
        lambda store: store.add_to_share("partners", "VIEW customer_profile"),
    ),
    "remove_from_share": (["SHARE ON VIEW customer_orders"], lambda store: store.remove_from_share("partners", "VIEW customer_orders")),
    "shares": (["USE ON VIEW customer_orders"], lambda store: store.shares()),
    "create_recipient": (["SHARE ON CATALOG"], lambda store: store.create_recipient("acme", "partners")),
    "change_recipient": (["SHARE ON CATALOG"], lambda store: store.change_recipient("acme", groups="analysts")),
    "rotate_recipient": (["SHARE ON CATALOG"], lambda store: store.rotate_recipient("acme")),
    "revoke_recipient": (["SHARE ON CATALOG"], lambda store: store.revoke_recipient("acme")),
    "recipients": (["SHARE ON CATALOG"], lambda store: store.recipients()),
}
"""By verb: the grants that it needs, and a call of it. `server/access/test_model_routes` tests that of `set_traffic`."""
LISTS = ("views", "services", "training_sets", "models", "grants", "policies", "shares")
"""Verbs that refuse nobody, and answer what one may see."""


def fill(store: FeatureStore) -> None:
    """The shop with a written table and a training set of a spine that is in the lake."""
    shop.fill(store)
    shop.add(store, "shop.spine", shop.spine())
    store.create_table("spending", "k", schema={"k": "bigint", "x": "double"})
    clicks = Source("clicks", schema={"customer_id": "bigint", "at": "timestamptz", "x": "double"}, timestamp="at")
    store.apply([FeatureView("clicked", entity=shop.customer, source=clicks, features=["x"])])
    build(store)
    store.create_share("partners")
    store.add_to_share("partners", "VIEW customer_orders")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    """The store of `fill`, filled once."""
    return worlds.Template(tmp_path_factory.mktemp("granted"), fill)


@pytest.fixture
def store(template: worlds.Template) -> Iterator[FeatureStore]:
    """The store of `fill`, for one test."""
    with template.opened() as store:
        yield store


@pytest.fixture
def him(store: FeatureStore) -> PrincipalStore:
    """Somebody without rights, at first."""
    return store.as_principal("him", ["analysts"])


@pytest.fixture(scope="module")
def stranger(template: worlds.Template) -> Iterator[PrincipalStore]:
    """Somebody to whom nothing is granted."""
    with template.opened() as store:
        yield store.as_principal("stranger", ["analysts"])


@pytest.fixture(scope="module")
def owner(template: worlds.Template) -> Iterator[PrincipalStore]:
    """Somebody with all grants there are."""
    with template.opened() as store:
        give(store, ["MANAGE ON CATALOG", "APPROVE_MODEL ON CATALOG", "SHARE ON CATALOG"])
        yield store.as_principal("owner", ["analysts"])


def give(store: FeatureStore, grants: list[str]) -> None:
    """Grant to his group."""
    for text in grants:
        privilege, _, on = text.partition(" ON ")
        store.grant(privilege, on, "GROUP analysts")


def test_it_is_a_store(stranger: PrincipalStore) -> None:
    """The type checker compares the methods; each verb has a row above."""
    same: Store = stranger
    verbs = {name for name, value in vars(Store).items() if inspect.isfunction(value) and not name.startswith("_")} - {"close"}
    assert verbs == set(VERBS)
    for name in verbs:
        assert parameters(getattr(type(same), name)) == parameters(getattr(Store, name)), name


def parameters(method: Callable[..., object]) -> list[tuple[str, object, object]]:
    """The parameters of a method: name, default, kind."""
    return [(parameter.name, parameter.default, parameter.kind) for parameter in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize("name", VERBS)
def test_without_rights_a_verb_does_and_tells_nothing(stranger: PrincipalStore, name: str) -> None:
    _, call = VERBS[name]
    if name in LISTS:
        assert call(stranger) == []
        return
    with pytest.raises(Forbidden) as caught:
        call(stranger)
    told = f"{caught.value}{caught.value.details}"
    # What the caller has sent itself may be repeated.
    named = inspect.getsource(call) + (f"{shop.DEFINITIONS}{NEW}" if name in ("plan", "apply") else "")
    assert not [canary for canary in CANARIES if canary in told and canary not in named]


@pytest.mark.parametrize("name", [name for name, (needs, _) in VERBS.items() if needs is ADMINISTRATOR])
def test_no_grant_is_enough_for_an_administrators_verb(owner: PrincipalStore, name: str) -> None:
    with pytest.raises(Forbidden, match="administrator"):
        VERBS[name][1](owner)


@pytest.mark.parametrize("name", [name for name, (needs, _) in VERBS.items() if needs and name != "set_traffic"])
def test_what_a_verb_needs_is_enough_and_no_less(store: FeatureStore, him: PrincipalStore, name: str) -> None:
    needs, call = VERBS[name]
    assert needs
    give(store, needs[:-1])
    if name in LISTS:
        assert call(him) == []
    else:
        with pytest.raises(Forbidden):
            call(him)
    give(store, needs[-1:])
    try:
        answer = call(him)
    except (NotFound, Conflict):
        # What is not there in this store, and may be seen not to be; or what somebody needs, which is not removed.
        return
    if name in LISTS:
        assert len(answer) == 1


def test_the_owner_of_an_object_may_do_all_that_is_done_with_it(store: FeatureStore) -> None:
    """Of every verb that needs privileges on objects."""
    for name, (needs, call) in VERBS.items():
        if not needs or name == "set_traffic":
            continue
        for on in {text.partition(" ON ")[2] for text in needs}:
            store.grant("OWN", on, f"USER owner of {name}")
        try:
            answer = call(store.as_principal(f"owner of {name}"))
        except (Conflict, NotFound):
            # As above.
            continue
        assert name not in LISTS or name == "shares" or len(answer) == 1, "what is shared was taken back"


@pytest.mark.parametrize("verb", [join, build])
def test_spines_read_only_tables_that_one_may_read(store: FeatureStore, him: PrincipalStore, verb: Callable[..., Any]) -> None:
    give(store, [*BUILD, "READ ON SERVICE plain"])
    spines = ("iceberg:shop.spine", "SELECT * FROM shop.spine", "WITH s AS (SELECT * FROM shop.spine) SELECT s.* FROM s")
    for spine in spines:
        with pytest.raises(Forbidden, match=r"READ on TABLE shop\.spine"):
            verb(him, spine)
    for hidden in ("iceberg:shop.nothing", "SELECT * FROM shop.nothing", "SELECT * FROM shop.spine, registry.keys"):
        with pytest.raises(Forbidden):
            verb(him, hidden)
    with pytest.raises(Forbidden, match="files"):
        verb(him, "/etc/passwd")
    give(store, ["READ ON TABLE shop.spine"])
    for spine in spines:
        verb(him, spine)
    with pytest.raises(Forbidden, match=r"registry\.keys"):
        verb(him, "SELECT s.* FROM shop.spine s, registry.keys")


def test_a_build_does_not_read_what_it_stores(store: FeatureStore, him: PrincipalStore) -> None:
    """As a job of his does it, which is refused what he may not read."""
    give(store, ["READ ON SERVICE churn", "WRITE ON TABLE training_sets.mine"])
    prepared = him.prepare_training_set(TrainingSetRequest.of("churn", shop.spine(), "asked_at", name="mine"))
    job = confine(store, rights=him._rights)
    stored = job.backend.store_training_set(prepared)
    assert him.has_training_set(prepared.id)
    reads: list[Callable[[], Any]] = [
        lambda: stored.open(job.backend.runtime),
        lambda: job.get_training_set(prepared.id),
        lambda: job.rebuild(prepared.id),
    ]
    for read in reads:
        with pytest.raises(Forbidden, match=r"READ on TABLE training_sets\.mine"):
            read()
    with pytest.raises(Forbidden, match="rights of the store"):
        job.verify_online()
    with pytest.raises(Forbidden, match="SERVICE plain"):
        job.point_in_time("plain", shop.spine(), "asked_at")
    give(store, ["READ ON TABLE training_sets.mine"])
    made = stored.open(confine(store, rights=him._rights).backend.runtime)
    assert made.statistics == store.get_training_set(prepared.id).statistics
    assert made.read().read_all().num_rows == 3
    assert confine(store, rights=OPERATOR).get_training_set(prepared.id).id == prepared.id


def test_what_is_missing_and_what_is_hidden_look_the_same(store: FeatureStore, him: PrincipalStore) -> None:
    calls: list[Callable[[str], Any]] = [him.view, him.service, him.traffic, lambda name: him.online_features(name, ENTITIES)]
    for call in calls:
        told = []
        for name in ("customer_orders", "customer_ordera"):
            with pytest.raises(Forbidden) as caught:
                call(name)
            told.append(f"{caught.value}{caught.value.details}".replace(name, "NAME"))
        assert told[0] == told[1]
    give(store, ["USE ON VIEW customer_ordera"])
    with pytest.raises(NotFound) as missing:
        him.view("customer_ordera")
    assert "customer_orders" not in f"{missing.value}{missing.value.details}"


def test_a_grant_on_a_service_covers_its_features_and_nothing_else(store: FeatureStore, him: PrincipalStore) -> None:
    give(store, ["READ ON SERVICE churn"])
    assert him.online_features("churn", ENTITIES, REQUEST).features
    assert join(him).num_rows == 3
    for refused in (lambda: him.view("customer_orders"), lambda: him.online_features("plain", ENTITIES), lambda: build(him)):
        with pytest.raises(Forbidden):
            refused()
    assert him.views() == []
    told = str(him.service("churn").definition)
    assert "customer_orders" in told, "which views they are from is part of its definition"
    assert "shop.orders" not in told
    assert "amount" not in told
    give(store, ["USE ON VIEW customer_orders"])
    told = str(him.service("churn").definition)
    assert "shop.orders" in told
    assert "shop.profiles" not in told
    assert str(store.as_principal("her").grants()) == "[]"


def test_a_revocation_holds_at_the_next_call(store: FeatureStore, him: PrincipalStore) -> None:
    give(store, ["USE ON VIEW customer_orders"])
    assert him.view("customer_orders").name == "customer_orders"
    store.revoke("USE", "VIEW customer_orders", "GROUP analysts")
    with pytest.raises(Forbidden):
        him.view("customer_orders")


def test_the_numbers_of_rows_are_for_those_who_may_read_them_all(store: FeatureStore, him: PrincipalStore) -> None:
    give(store, CATALOG)

    def counts(table: str) -> set[int | None]:
        return {event.rows for event in him.history(table) if event.snapshot_id is not None}

    known = {"customer_orders": "READ ON VIEW customer_orders", "shop.profiles": "READ ON TABLE shop.profiles"}
    for table, right in known.items():
        assert counts(table) == {None}
        give(store, [right])
        assert counts(table) == {event.rows for event in store.history(table) if event.snapshot_id is not None} != {None}
    store.apply([TablePolicy("shop.profiles", rows=RowFilter("country = 'AT'")), TablePolicy("customer_profile", declassify_rows=True)])
    assert counts("shop.profiles") == {None}


def test_another_approver_is_not_recorded(store: FeatureStore, him: PrincipalStore) -> None:
    give(store, ["APPROVE_MODEL ON MODEL churn"])
    with pytest.raises(Forbidden, match="you are him"):
        him.set_traffic("churn", {}, approver="her")


def test_names_of_versions_are_told_to_those_who_see_the_catalog(store: FeatureStore, him: PrincipalStore) -> None:
    store.tag("release-2026")
    give(store, [*BUILD, "READ ON TABLE shop.spine"])
    calls: list[Callable[[], Any]] = [
        lambda: him.point_in_time("churn", shop.spine(), "asked_at", snapshots="@release-2027"),
        lambda: him.point_in_time("churn", "iceberg:shop.spine@release-2027", "asked_at"),
        lambda: him.training_set("churn", "iceberg:shop.spine@rel", "asked_at", "churned", name="mine"),
    ]
    for call in calls:
        with pytest.raises(NotFound) as missing:
            call()
        assert "release-2026" not in f"{missing.value}{missing.value.details}"
    give(store, CATALOG)
    with pytest.raises(NotFound, match="did you mean 'release-2026'"):
        calls[1]()
