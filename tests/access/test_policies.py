"""Policies: their definitions, their registry, what is in force for whom, and what their SQL makes of rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureStore, FeatureView, Mask, RowFilter, Source, TablePolicy, agg
from featurestore.access.policies import policy_history, read_policies
from featurestore.access.policy_book import PolicyBook
from featurestore.access.principal import Principal
from featurestore.access.privileges import parse_securable
from featurestore.access.registry_follower import KEPT_SECONDS
from featurestore.access.rights import Rights
from featurestore.compiler.check_policy import can_cast
from featurestore.compiler.row_policy import OPEN, RowPolicy, policies_digest
from featurestore.dsl import documents
from featurestore.dsl.definitions import gather
from featurestore.errors import DefinitionError, NotReady
from featurestore.values import times
from tests.worlds import STAMP, load_source

CUSTOMERS = Entity("customer", keys="customer_id")
SOURCE = Source("accounts", table="shop.accounts", timestamp="at")
AGE = Mask("NULL", unless=["pii"])
GERMANS = RowFilter("country = 'DE'", unless=["world", "pii"])


def profile(**more: Any) -> FeatureView:
    """A row view of customers, with these further arguments."""
    return FeatureView("profile", CUSTOMERS, SOURCE, features=["email", "country", "age"], **more)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store with a table of customers and a view of them, and no policy at first."""
    with FeatureStore(home=tmp_path_factory.mktemp("home")) as store:
        at = times.moment(times.parse("2026-03-01T00:00:00Z", "at"))
        rows = {"customer_id": [1, 2], "at": pa.array([at, at], STAMP), "email": ["a@x", "b@x"], "country": ["DE", "FR"], "age": [30, 40]}
        # Two tables, of which only one has a policy: it would follow the lineage into the view.
        load_source(store, "shop.customers", pa.table(rows))
        load_source(store, "shop.accounts", pa.table(rows))
        store.apply([profile()])
        yield store


def problems_of(store: FeatureStore, *definitions: Any) -> str:
    with pytest.raises(DefinitionError) as caught:
        store.plan(list(definitions))
    return "\n".join(map(str, caught.value.problems))


def test_words_and_documents() -> None:
    table = TablePolicy("shop.customers", masks={"email": Mask("'***'", unless="pii")})
    assert (table.name, TablePolicy("profile").name) == ("TABLE shop.customers", "VIEW profile")
    assert table.masks["email"].unless == ("pii",)
    view = profile(masks={"age": AGE}, rows=GERMANS, declassify="email", declassify_rows=True)
    gathered = gather([view, table])
    assert [policy.name for policy in gathered.policies] == ["VIEW profile", "TABLE shop.customers"]
    sent = documents.definition_objects(documents.definitions_document(gathered))
    assert gather(sent).policies == gathered.policies
    # The policy is no part of the view, which says nothing about it any more.
    assert documents.document(view) == documents.document(profile())
    assert profile().policy is None
    assert profile(masks={}).policy == TablePolicy("profile")


def test_problems_are_named(store: FeatureStore) -> None:
    for policy, expected in (
        (TablePolicy("shop.none"), "no table 'shop.none'"),
        (TablePolicy("profil"), "did you mean 'profile'"),
        (TablePolicy("features.profile_v1"), "one of the store's own tables"),
        (TablePolicy("shop.customers", masks={"mail": AGE}), "masks.mail: no column 'mail'; did you mean 'email'?"),
        (TablePolicy("shop.customers", masks={"email": Mask("md5(mail)")}), "masks.email.sql: no column 'mail'"),
        (TablePolicy("shop.customers", masks={"email": Mask("random()")}), "gives another answer at every call"),
        (TablePolicy("shop.customers", masks={"email": Mask("(SELECT 1)")}), "subquery"),
        (TablePolicy("shop.customers", masks={"age": Mask("'hidden'")}), "cannot be cast to BIGINT"),
        (TablePolicy("shop.customers", masks={"age": Mask("at")}), "cannot be cast to BIGINT"),
        (TablePolicy("shop.customers", masks={"age": Mask("left(age, 1)")}), "does not work on the types"),
        (TablePolicy("shop.customers", rows=RowFilter("age + 1")), "rows.sql: 'age + 1' is BIGINT; give a condition"),
        (TablePolicy("shop.customers", rows=RowFilter("nation = 'DE'")), "no column 'nation'"),
        (TablePolicy("shop.customers", declassify=["age"]), "only views are declassified"),
        (TablePolicy("shop.customers", rows=RowFilter("age > 1", unless=[" x"])), "without spaces"),
        (profile(masks={"customer_id": AGE}), "cannot be masked"),
        (profile(masks={"feature_timestamp": AGE}), "cannot be masked"),
        (profile(masks={"years": AGE}), "no column 'years'"),
        (profile(rows=RowFilter("created_timestamp IS NULL")), "no column 'created_timestamp'"),
        (profile(declassify=["years"]), "no feature 'years'"),
    ):
        assert expected in problems_of(store, policy), expected
    two = problems_of(store, profile(masks={"age": AGE}), TablePolicy("profile"))
    assert "defined differently" in two
    assert read_policies(store.backend.runtime) == {}


def test_plan_apply_list_and_change(store: FeatureStore) -> None:
    version = store.view("profile").version
    defined = [profile(masks={"age": AGE}, rows=GERMANS), TablePolicy("shop.customers", masks={"email": Mask("'***'")})]
    assert [(step.kind, step.name, step.action) for step in store.plan(defined).steps if step.kind == "policy"] == [
        ("policy", "VIEW profile", "create"),
        ("policy", "TABLE shop.customers", "create"),
    ]
    store.apply(defined)
    assert {step.action for step in store.plan(defined).steps} == {"unchanged"}
    listed = [(info.on, info.rule, info.column, info.sql, info.unless) for info in store.policies()]
    assert listed == [
        ("TABLE shop.customers", "mask", "email", "'***'", ()),
        ("VIEW profile", "mask", "age", "NULL", ("pii",)),
        ("VIEW profile", "rows", None, "country = 'DE'", ("world", "pii")),
    ]
    assert all(info.applied_by for info in store.policies())
    # A definition that says nothing of a policy leaves it as it is; one that says something takes its place.
    store.apply([profile()])
    assert len(store.policies()) == 3
    assert [step.action for step in store.apply([profile(masks={})]).steps if step.kind == "policy"] == ["change"]
    assert [info.on for info in store.policies()] == ["TABLE shop.customers"]
    assert store.view("profile").version == version, "a policy is no part of the meaning of a view"
    on = parse_securable("VIEW profile", "featurestore")
    assert [sorted(stored.policy.masks) for stored in policy_history(store.backend.runtime, on)] == [[], ["age"]]
    store.apply([profile(masks={"age": AGE}, rows=GERMANS)])

    him = store.as_principal("him")
    assert him.policies() == []
    store.grant("USE", "VIEW profile", "USER him")
    assert [(info.on, info.column, info.sql) for info in him.policies()] == [("VIEW profile", "age", None), ("VIEW profile", None, None)]
    # A view that changes must fit the policy that it has.
    smaller = FeatureView("profile", CUSTOMERS, SOURCE, features=["email", "age"])
    assert "no column 'country'" in problems_of(store, smaller)
    assert "country" in problems_of(store, FeatureView("profile", CUSTOMERS, SOURCE, every="1d", features={"n": agg.count(over="1d")}))


def test_what_is_in_force_follows_the_registry_and_the_groups(store: FeatureStore) -> None:
    store.apply([profile(masks={"age": AGE}, rows=GERMANS), TablePolicy("shop.customers", masks={"email": Mask("'***'")})])
    runtime, now = store.backend.runtime, [0.0]
    book = PolicyBook(runtime, lambda: now[0])
    with pytest.raises(NotReady, match="policies"):
        book.policies()
    book.refresh()

    def of(*groups: str, administrator: bool = False) -> RowPolicy:
        return Rights(Principal("x", frozenset(groups), administrator), None, book).policy_of_view("profile")

    assert of() == RowPolicy((("age", "NULL"),), "country = 'DE'")
    assert of("world") == RowPolicy((("age", "NULL"),), None)
    assert of("pii") == of(administrator=True) == OPEN
    assert of("other").digest == of().digest != of("world").digest
    assert of("pii").digest is None
    # A feature table has the policy of its view, whatever its version.
    rights = Rights(Principal("x"), None, book)
    assert rights.policy_of_table("features.profile_v7") == rights.policy_of_table("Features.PROFILE_V1") == of()
    assert rights.policy_of_table("shop.customers").masks == (("email", "'***'"),)
    assert rights.policy_of_table("shop.orders") == OPEN
    with pytest.raises(NotReady):
        Rights(Principal("x")).policy_of_view("profile")

    store.apply([TablePolicy("profile", masks={"age": Mask("age // 10 * 10")})])
    assert of().rows is not None, "as it was read last"
    book.refresh()
    assert of() == RowPolicy((("age", "CAST(age // 10 AS BIGINT) * 10"),), None) or of().masks[0][0] == "age"
    assert of().rows is None
    now[0] = KEPT_SECONDS + 1
    with pytest.raises(NotReady, match="policies"):
        of()


def test_digests() -> None:
    mask = RowPolicy.of({"a": " null "}, None)
    assert mask.digest == RowPolicy.of({"a": "NULL"}, None).digest != RowPolicy.of({"b": "NULL"}, None).digest
    assert RowPolicy.from_dict(mask.to_dict()) == mask
    assert OPEN.digest is None
    assert policies_digest({"VIEW x": OPEN}) is None
    assert policies_digest({"VIEW x": mask, "VIEW y": OPEN}) == policies_digest({"VIEW x": mask}) != policies_digest({"VIEW y": mask})


def test_what_the_sql_makes_of_rows(store: FeatureStore) -> None:
    rows = pa.table({"email": ["ann@x", "bob@x", None], "code": ["1", "x", "2"], "age": pa.array([30, 40, 50], pa.int32())})
    types = {"email": "VARCHAR", "code": "VARCHAR", "age": "INTEGER"}

    def seen(masks: dict[str, str], rows_sql: str | None = None) -> list[dict[str, Any]]:
        policy = RowPolicy.of(masks, rows_sql).bind(types)
        with store.backend.runtime.engine.brief() as session:
            visible: list[dict[str, Any]] = session.batches(policy.visible_rows(session.add("rows", rows))).read_all().to_pylist()
            return visible

    masked = seen({"EMAIL": "'***' || right(email, 2)", "age": "age // 10 * 10"}, "CAST(code AS INTEGER) > 0")
    # The second row's filter fails, which hides it as false would.
    assert masked == [{"email": "***@x", "code": "1", "age": 30}, {"email": None, "code": "2", "age": 50}]
    assert [row["age"] for row in seen({"age": "code"})] == [1, None, 2], "a mask that fails is NULL"
    assert [row["age"] for row in seen({"age": "gone"})] == [None] * 3
    assert seen({}, "gone > 1") == [], "what cannot be decided is hidden"
    assert seen({}, "email = 'ann@x'") == [{"email": "ann@x", "code": "1", "age": 30}]
    bound = RowPolicy.of({"age": "length(code)"}, "email LIKE 'a%'").bind(types)
    assert bound.reads(["age"]) == ("age", "email", "code")
    assert bound.reads(["code"]) == ("code", "email")
    assert bound.masked == {"age"}


def test_casts_that_may_have_values() -> None:
    for sql_type, to in (("BIGINT", "DOUBLE"), ("VARCHAR", "DATE"), ("DATE", "VARCHAR"), ('"NULL"', "UUID"), ("INTEGER[]", "DOUBLE[]")):
        assert can_cast(sql_type, to)
    assert can_cast("DECIMAL(10,2)", "INTEGER")
    for sql_type, to in (("BIGINT", "DATE"), ("DATE", "DOUBLE"), ("INTEGER[]", "INTEGER"), ("BOOLEAN", "UUID")):
        assert not can_cast(sql_type, to)


def test_a_stored_policy_that_this_release_refuses_shows_nothing(store: FeatureStore, tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path / "home") as other:
        load_source(other, "shop.customers", pa.table({"customer_id": [1], "email": ["a"]}))
        other.apply([TablePolicy("shop.customers", masks={"email": Mask("'***'")})])
        (stored,) = read_policies(other.backend.runtime).values()
        broken = TablePolicy("shop.customers", masks={"email": Mask("read_text('x')")})
        with pytest.raises(NotReady, match=r"TABLE shop\.customers cannot be read"):
            type(stored)(stored.on, broken, None, stored.at).in_force(frozenset())


def test_a_mask_of_a_renamed_feature_is_kept_or_declared_open(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path) as store:
        at = times.moment(times.parse("2026-03-01T00:00:00Z", "at"))
        load_source(
            store, "shop.accounts", pa.table({"customer_id": [1], "at": pa.array([at], STAMP), "email": ["a@x"], "country": ["DE"]})
        )
        store.apply([FeatureView("profile", CUSTOMERS, SOURCE, features=["email", "country"], masks={"email": AGE, "country": AGE})])

        def renamed(**more: Any) -> FeatureView:
            return FeatureView("profile", CUSTOMERS, SOURCE, features={"mail": "email", "country": "country"}, **more)

        found = problems_of(store, renamed(masks={"mail": AGE}))
        assert "v1 still has 'email', which is masked now" in found
        # What the version still has is unmasked on purpose.
        assert "country" not in found
        keeps: dict[str, Any] = {"masks": {"mail": AGE, "email": AGE}}
        opens: dict[str, Any] = {"masks": {"mail": AGE}, "declassify": ["email"]}
        lifts: dict[str, Any] = {"masks": {}}
        for sound in (keeps, opens, lifts):
            assert store.plan([renamed(**sound)]).steps
        store.apply([renamed(masks={"mail": AGE, "email": AGE})])
        assert "v1 still has 'email'" in problems_of(store, TablePolicy("profile", masks={"mail": AGE}))
        store.apply([TablePolicy("profile")])
        assert store.policies() == []
