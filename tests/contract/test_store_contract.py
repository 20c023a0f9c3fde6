"""The contract of a store and of the client of a server: the same methods, results and errors."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, Store, agg, connect
from featurestore.client import RemoteStore
from featurestore.errors import (
    CommitConflict,
    Conflict,
    DefinitionError,
    DigestMismatch,
    FeatureStoreError,
    NotFound,
    RequestError,
    TypeMismatch,
)
from featurestore.pipelines.materialization.materialize import ViewProgress
from featurestore.pipelines.training_sets.digest import table_digest
from featurestore.pipelines.training_sets.progress import BuildProgress
from featurestore.records import model_events
from tests import shop

Verbs = Store
KINDS = ["home", pytest.param("http", marks=pytest.mark.slow)]


@contextmanager
def open_store(kind: str, home: FeatureStore) -> Iterator[Verbs]:
    """The store as it is, or behind a real server."""
    if kind == "home":
        yield home
        return
    with shop.serving(home, jobs=True) as url, connect(url) as remote:
        yield remote


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """The store itself. Tests make training sets in it, and change nothing else."""
    with shop.open_shop(tmp_path_factory.mktemp("shop")) as store:
        shop.add(store, "shop.spine", shop.spine().slice(0, 2))
        yield store


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, home: FeatureStore) -> Iterator[Verbs]:
    """That store, once at home and once behind a server."""
    with open_store(request.param, home) as verbs:
        yield verbs


@pytest.fixture(params=KINDS)
def own(request: pytest.FixtureRequest, own_shop: FeatureStore) -> Iterator[Verbs]:
    """A store that the test may change, once at home and once behind a server."""
    with open_store(request.param, own_shop) as verbs:
        yield verbs


def train(store: Verbs, spine: Any, **options: Any) -> Any:
    """A training set of the shop's service."""
    return store.training_set("churn", spine, **{"timestamp": "asked_at", "label": "churned", **options})


def test_both_are_stores(home: FeatureStore) -> None:
    here: Store = home
    there: Store = connect("http://localhost:1")
    there.close()
    shared = {name: value for name, value in vars(Store).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert len(shared) > 20
    for name, method in shared.items():
        for store in (here, there):
            assert parameters(getattr(type(store), name)) == parameters(method), f"{type(store).__name__}.{name}"


def parameters(method: Callable[..., object]) -> list[tuple[str, object, object]]:
    """The parameters of a method: name, default, kind."""
    return [(parameter.name, parameter.default, parameter.kind) for parameter in inspect.signature(method).parameters.values()]


def test_what_both_have_is_shared() -> None:
    """A verb that a store and a client both have belongs into the protocol."""
    public = [
        {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}
        for kind in (FeatureStore, RemoteStore, Store)
    ]
    assert public[0] & public[1] == public[2]
    assert public[0] - public[2] == {"as_principal", "check"}
    assert public[1] - public[2] == {"archive", "cancel", "demote", "parts", "predict", "promote", "rollback", "score"}


def test_sharing(own: Verbs) -> None:
    assert own.create_share("partners").tables == ()
    shared = own.add_to_share("partners", "VIEW customer_orders", "sales.orders")
    assert [(table.table, table.on) for table in shared.tables] == [("sales.orders", "VIEW customer_orders")]
    made = own.create_recipient("acme", "partners", ["pii"], timedelta(hours=1))
    assert (made.recipient.shares, made.recipient.groups, made.recipient.keys[0].id) == (("partners",), ("pii",), made.key)
    assert made.profile["shareCredentialsVersion"] == 1
    assert own.shares()[0].recipients == ("acme",)
    with pytest.raises(Conflict, match="already"):
        own.create_recipient("acme")
    assert own.rotate_recipient("acme", "1d").profile["bearerToken"] != made.profile["bearerToken"]
    assert own.change_recipient("acme", groups=[]).groups == ()
    assert [key.state for key in own.revoke_recipient("acme", made.key).keys] == ["live", "revoked"]
    assert own.revoke_recipient("acme").state == "revoked"
    assert [recipient.state for recipient in own.recipients()] == ["revoked"]
    assert own.remove_from_share("partners", "VIEW customer_orders").tables == ()
    with pytest.raises(NotFound, match="share"):
        own.remove_share("partner")
    assert own.remove_share("partners").name == "partners"


def test_plan_and_apply(own: Verbs) -> None:
    assert not own.plan(shop.DEFINITIONS).changed
    seller = Entity("seller", "seller_id")
    plan = own.plan([seller])
    assert [(step.action, step.kind, step.name, step.version) for step in plan.steps] == [("create", "entity", "seller", 1)]
    assert str(plan) == "create  entity seller  v1  new"
    assert own.apply(plan).changed
    assert "seller" in [entity["name"] for entity in own.entities()]
    assert not own.apply([seller]).changed


def test_a_plan_of_the_past_is_refused(own: Verbs) -> None:
    seller = Entity("seller", "seller_id")
    plan = own.plan([seller])
    own.apply([Entity("buyer", "buyer_id")])
    with pytest.raises(CommitConflict, match="plan again"):
        own.apply(plan)
    assert "seller" not in [entity["name"] for entity in own.entities()]


def test_views_that_change_show_their_sql(store: Verbs) -> None:
    changed = FeatureView("customer_orders", shop.customer, shop.orders, {"orders": agg.count(over="14d")}, every="1d")
    (step,) = [step for step in store.plan([changed]).steps if step.kind == "view"]
    assert (step.action, step.version) == ("new version", 2)
    assert step.sql is not None
    assert "orders_14d" in step.sql


def test_a_plan_tells_what_it_means(own: Verbs, own_shop: FeatureStore) -> None:
    made = train(own, shop.spine())
    event = model_events.Event("registered", "churn", "1", "m-1", "run", made.id, made.snapshots)
    model_events.record_events(own_shop.catalog, own_shop.settings, [event])
    changed = replace(shop.customer_orders, features={"orders": agg.count(over="14d")})
    plan = own.plan([changed])
    (step,) = [step for step in plan.steps if step.kind == "view"]
    assert step.diff is not None
    assert step.diff.startswith("--- customer_orders v1")
    assert step.models == ("churn/1",)
    assert [(read.source, read.files, read.rows) for read in step.reads] == [("shop.orders", 1, 4)]
    assert plan.others == (("source", "profiles"), ("view", "customer_profile"), ("service", "churn"), ("service", "plain"))
    here = own_shop.plan([changed])
    assert (plan.to_dict(), str(plan)) == (here.to_dict(), str(here))


def test_removing(own: Verbs, own_shop: FeatureStore) -> None:
    own.apply([replace(shop.plain, features=[shop.customer_profile])])
    changed = replace(shop.customer_orders, features={"orders": agg.count(over="14d")})
    own.apply([changed])
    own.materialize()
    with pytest.raises(Conflict, match="read by the service churn v1 ") as caught:
        own.remove_version("customer_orders", 1)
    assert caught.value.details["services"] == ["churn v1"]
    with pytest.raises(Conflict, match="is the current version"):
        own.remove_version("customer_orders", 2)
    with pytest.raises(NotFound, match="did you mean 'customer_orders'"):
        own.remove_view("customer_order")
    assert own.remove_service("churn").versions == (1,)
    looked = own.remove_version("customer_orders", 1, dry_run=True)
    assert own_shop.catalog.table_exists("features.customer_orders_v1")
    assert (looked.versions, looked.services) == ((1,), ("plain v1",))
    assert own.remove_version("customer_orders", 1) == looked
    assert own.remove_view("customer_orders").versions == (2,)
    assert [view["name"] for view in own.views()] == ["customer_profile"]


def test_every_problem_has_its_file_and_line(store: Verbs, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    folder.mkdir()
    (folder / "a.py").write_text(
        "from featurestore import Entity, FeatureView, Source\n"
        'customer = Entity("customer", keys="customer_id")\n'
        'orders = Source("orders", table="shop.orders", timestamp="ordered_at")\n'
        'view = FeatureView("wrong", customer, orders,\n'
        '                   features={"a": "amount",\n'
        '                             "b": "no_such_column"})\n'
    )
    with pytest.raises(DefinitionError) as caught:
        store.plan(folder)
    (problem,) = caught.value.problems
    assert problem.file == str(folder / "a.py")
    assert problem.line == 6
    assert "no_such_column" in problem.message
    (folder / "b.py").write_text("1 / 0\n")
    (folder / "c.py").write_text('from featurestore import Entity\nx = Entity("not a name", keys="x")\n')
    with pytest.raises(DefinitionError) as caught:
        store.apply(folder)
    assert {Path(problem.file or "").name for problem in caught.value.problems} >= {"b.py", "c.py"}


def test_materialize_tells_what_it_did(own: Verbs, own_shop: FeatureStore) -> None:
    shop.add(own_shop, "shop.orders", shop.order_rows().slice(3, 1))
    seen: list[ViewProgress] = []
    (run,) = own.materialize("customer_orders", progress=seen.append)
    assert run.rows_appended > 0
    assert run.snapshot_id == int(own_shop.view("customer_orders")["snapshot_id"])
    assert run.end is not None
    assert run.end.tzinfo is not None
    assert {progress.view for progress in seen} <= {"customer_orders"}
    assert [again.rows_appended for again in own.materialize()] == [0, 0]
    with pytest.raises(NotFound, match="did you mean 'customer_orders'"):
        own.materialize(["customer_order"])
    with pytest.raises(RequestError, match="start"):
        own.materialize(start="soon")


def test_intervals(own: Verbs) -> None:
    view = FeatureView("late", shop.customer, Source("orders", table="shop.orders", timestamp="ordered_at"), ["amount"])
    own.apply([view])
    (first,) = own.materialize(["late"], start=shop.days(30), end=shop.days(4))
    assert (first.rows_appended, first.end) == (2, shop.days(4))
    (second,) = own.materialize(["late"])
    assert second.rows_appended == 1


@pytest.mark.parametrize("kind", ["arrow", "reader", "pandas", "polars", "dicts", "path", "glob", "sql", "iceberg"])
def test_any_spine_gives_the_same_training_set(store: Verbs, home: FeatureStore, tmp_path: Path, kind: str) -> None:
    spine = shop.spine().slice(0, 2)
    pq.write_table(spine.slice(0, 1), tmp_path / "spine-1.parquet")
    pq.write_table(spine.slice(1, 1), tmp_path / "spine-2.parquet")
    pq.write_table(spine, tmp_path / "whole.parquet")
    arguments: dict[str, Any] = {
        "arrow": spine,
        "reader": spine.to_reader(1),
        "pandas": spine.to_pandas(),
        "polars": pl.from_arrow(spine),
        "dicts": spine.to_pylist(),
        "path": tmp_path / "whole.parquet",
        "glob": str(tmp_path / "spine-*.parquet"),
        "sql": "SELECT * FROM shop.spine",
        "iceberg": "iceberg:shop.spine",
    }
    made = train(store, arguments[kind])
    assert made.manifest["rows"] == 2
    if kind != "sql":  # SQL without ORDER BY promises no order
        assert made.id == train(home, spine).id


def test_a_build_tells_how_far_it_is(store: Verbs, capfd: pytest.CaptureFixture[str]) -> None:
    seen: list[BuildProgress] = []
    made = train(store, shop.spine(), name=f"told_{type(store).__name__}", progress=seen.append)
    assert (seen[-1].rows, seen[-1].total) == (3, 3)
    silent = capfd.readouterr()
    assert (silent.out, silent.err) == ("", ""), "who asks for no bar gets none"
    assert train(store, shop.spine(), name=made.name, progress=True).id == made.id


def test_a_training_set_and_its_rows(store: Verbs, home: FeatureStore) -> None:
    made = train(store, shop.spine(), name="first", known="then")
    assert made.id.startswith("first-")
    assert (made.name, made.label, made.timestamp) == ("first", "churned", "asked_at")
    assert made.snapshots == {view["table"].removeprefix("features."): int(view["snapshot_id"]) for view in home.views()}
    assert made.plan == home.backend.service_plan("churn")
    rows = made.to_arrow()
    assert table_digest(rows) == made.digest
    assert rows.schema.names[:5] == ["customer_id", "basket", "asked_at", "churned", "orders_7d"]
    assert rows["customer_id"].to_pylist() == [1, 99, None]
    assert [batch.num_rows for batch in made.to_batches(2)] == [2, 1]
    assert made.to_pandas()["churned"].astype(object).where(lambda column: column.notna(), None).tolist() == [True, False, None]
    assert made.manifest == home.get_training_set(made.id).manifest


def test_compare(store: Verbs, home: FeatureStore) -> None:
    first, second = train(store, shop.spine()), train(store, shop.spine().slice(0, 2), known="then")
    comparison = store.compare(first.id, second.id)
    assert comparison == home.compare(first.id, second.id)
    assert comparison["rows"] == {"a": 3, "b": 2, "common": 2, "added": 0, "gone": 1}
    assert (comparison.rows.gone, type(comparison)) == (1, type(home.compare(first.id, second.id)))
    assert comparison.features.common["score"].because == ("known='now' became 'then'",) * bool(comparison.features.common["score"].changed)
    with pytest.raises(NotFound):
        store.compare(first.id, "churn-0")


def test_splits(store: Verbs, home: FeatureStore) -> None:
    cuts: list[tuple[dict[str, Any], Any]] = [
        ({"train": 0.5, "test": 0.5}, ["customer_id", "basket"]),
        ({"train": shop.days(0.5), "test": None}, None),
    ]
    for split, by in cuts:
        for spine in (shop.spine(), "iceberg:shop.spine"):
            made = train(store, spine, name="cut", split=split, by=by)
            assert made.id == train(home, spine, name="cut", split=split, by=by).id
            assert sum(made.split(part).to_arrow().num_rows for part in split) == made.manifest["rows"]
            with pytest.raises(NotFound, match="did you mean 'train'"):
                made.split("trian")


def test_statistics(store: Verbs, home: FeatureStore) -> None:
    made = train(store, shop.spine())
    assert made.statistics == home.get_training_set(made.id).statistics
    columns = made.statistics["columns"]
    assert (columns["churned"]["role"], columns["churned"]["count"], columns["churned"]["nulls"]) == ("spine", 2, 1)
    assert columns["score"]["nan"] == 1
    assert columns["credit"]["top"] == [[12.3, 1]]


def test_the_same_request_gives_the_same_training_set(store: Verbs) -> None:
    first = train(store, shop.spine())
    assert train(store, shop.spine()).manifest == first.manifest
    assert train(store, shop.spine(), known="then").id != first.id
    assert train(store, shop.spine(), snapshots=first.snapshots).id == first.id
    assert first.id in [training_set["id"] for training_set in store.training_sets()]
    assert store.get_training_set(first.id).manifest == first.manifest


def test_rebuild(own: Verbs, own_shop: FeatureStore) -> None:
    made = train(own, shop.spine())
    shop.add(own_shop, "shop.orders", shop.order_rows())
    own_shop.materialize()
    assert own.rebuild(made.id).digest == made.digest
    with pytest.raises(NotFound):
        own.rebuild("churn-0000000000000000")


def test_a_rebuild_that_differs_names_the_columns(own: Verbs, own_shop: FeatureStore) -> None:
    made = train(own, shop.spine())
    table = own_shop.catalog.load_table("training_sets.churn")
    rows = table.scan().to_arrow()
    changed = rows.set_column(rows.schema.get_field_index("basket"), "basket", pa.array([41.0, 1.0, 2.0]))
    table.overwrite(changed)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    tagged = table.metadata.refs[f"training-set-{made.id}"].snapshot_id
    summary = table.snapshot_by_id(tagged).summary.additional_properties  # type: ignore[union-attr]
    table.overwrite(changed, snapshot_properties={"featurestore.manifest": summary["featurestore.manifest"]})
    snapshot = table.current_snapshot()
    assert snapshot is not None
    with table.manage_snapshots() as tags:
        tags.remove_tag(f"training-set-{made.id}").create_tag(snapshot.snapshot_id, f"training-set-{made.id}")
    with pytest.raises(DigestMismatch, match="basket") as caught:
        own.rebuild(made.id)
    assert caught.value.details["columns"] == ["basket", "basket_share"]


def test_point_in_time(store: Verbs, home: FeatureStore) -> None:
    rows = store.point_in_time("plain", shop.SPINE_SQL, "ordered_at")
    assert rows["orders_30d"].to_pylist() == [None, None, 0, 1]
    assert table_digest(rows) == table_digest(store.point_in_time("plain", rows.select([0, 1, 2]), "ordered_at"))
    assert table_digest(rows) == table_digest(home.point_in_time("plain", shop.SPINE_SQL, "ordered_at"))


def test_online_features(store: Verbs, home: FeatureStore) -> None:
    entities: list[dict[str, Any]] = [{"customer_id": 1}, {"customer_id": 2}, {"customer_id": 99}, {"customer_id": None}]
    request: list[dict[str, Any]] = [{"basket": 40}, {"basket": 1.5}, {"basket": 1}, {"basket": None}]
    features = store.online_features("churn", entities, request)
    here = home.online_features("churn", entities, request)
    assert without_nan(features.rows) == without_nan(here.rows), "JSON has no NaN"
    assert replace(features, rows=()) == replace(here, rows=())
    assert features.to_arrow().schema == here.to_arrow().schema
    assert features.status["customer_profile"] == ("PRESENT", "EXPIRED", "NOT_FOUND", "NOT_FOUND")
    assert store.online_features("plain", []).rows == ()


def without_nan(rows: Any) -> list[list[Any]]:
    """The rows with None for NaN."""
    return [[None if value != value else value for value in row] for row in rows]


def test_listings(store: Verbs, home: FeatureStore) -> None:
    for verb in ("entities", "sources", "views", "services", "training_sets"):
        assert getattr(store, verb)() == getattr(home, verb)()
    assert store.view("customer_profile") == home.view("customer_profile")
    assert store.service("churn") == home.service("churn")


def test_impact(store: Verbs, home: FeatureStore) -> None:
    train(store, shop.spine())
    report = store.impact("shop.orders", "amount")
    assert report == home.impact("shop.orders", "amount")
    assert report.views[0].features == {"spend_30d": "direct"}
    assert any(affected.features.get("basket_share") == "direct" for affected in report.training_sets)
    with pytest.raises(NotFound, match="did you mean 'amount'"):
        store.impact("shop.orders", "amonut")


def test_lineage(store: Verbs, home: FeatureStore) -> None:
    train(store, shop.spine())
    for name in ("customer_orders.spend_30d", "churn.basket_share", "shop.orders"):
        assert store.lineage(name) == home.lineage(name)
    up = store.lineage("churn.basket_share", "up").dependences("column")
    assert (up["shop.orders.amount"], up["shop.orders.ordered_at"]) == ("direct", "indirect")
    assert store.lineage("shop.orders.amount", direction="down").dependences("training set")
    with pytest.raises(NotFound, match="did you mean 'amount'"):
        store.lineage("shop.orders.amonut")
    with pytest.raises(RequestError, match="direction='sideways' must be 'up'"):
        store.lineage("shop.orders.amount", "sideways")  # type: ignore[arg-type]


def test_tags(own: Verbs, own_shop: FeatureStore) -> None:
    version = own.tag("release-2026-11", by="ann")
    assert set(version.tables) > {"shop.orders", "features.customer_orders_v1"}
    assert own.tags() == own_shop.tags() == [version]
    before = str(own.point_in_time("churn", shop.spine(), "asked_at").to_pylist())
    shop.add(own_shop, "shop.orders", shop.order_rows().slice(3, 1))
    own_shop.materialize()
    assert str(own.point_in_time("churn", shop.spine(), "asked_at", snapshots="@release-2026-11").to_pylist()) == before
    assert str(own.point_in_time("churn", shop.spine(), "asked_at").to_pylist()) != before
    pinned = own.training_set("churn", shop.spine(), "asked_at", "churned", snapshots={"customer_orders_v1": "@release-2026-11"})
    assert pinned.snapshots["customer_orders_v1"] == version.tables["features.customer_orders_v1"]
    with pytest.raises(Conflict, match=r"was set by ann at .* and stands for other snapshots"):
        own.tag("release-2026-11")
    with pytest.raises(NotFound, match="no tag 'release'"):
        own.point_in_time("churn", shop.spine(), "asked_at", snapshots="@release")
    with pytest.raises(RequestError, match="name='a b'"):
        own.tag("a b")
    assert own.tag("some", "customer_orders").tables.keys() == {"features.customer_orders_v1"}
    assert own.remove_tag("release-2026-11") == version
    assert [left.name for left in own.tags()] == ["some"]


def test_a_key_is_erased(own: Verbs, own_shop: FeatureStore) -> None:
    made = train(own, shop.spine(), name="forgetful")
    planned = own.erase("customer", 1, dry_run=True)
    assert (planned.number, [one.id for one in planned.training_sets]) == (None, [made.id])
    erased = own.erase("customer", {"customer_id": 1}, by="ann")
    assert (erased.number, erased.by, erased.tables) == (1, "ann", planned.tables)
    assert any(place.startswith("shop.orders: ") for place in erased.remaining)
    assert own.erasures() == own_shop.erasures()
    assert own.rebuild(made.id).manifest["rows"] == 2
    with pytest.raises(NotFound, match="no entity 'custmer'; did you mean 'customer'"):
        own.erase("custmer", 1)


def test_a_training_set_is_removed(own: Verbs, own_shop: FeatureStore) -> None:
    made = train(own, shop.spine(), name="unused")
    assert own.remove_training_set(made.id, dry_run=True) == own_shop.remove_training_set(made.id, dry_run=True)
    removed = own.remove_training_set(made.id)
    assert (removed.id, removed.rows, removed.table) == (made.id, 3, "training_sets.unused")
    assert made.id not in [listed.id for listed in own_shop.training_sets()]
    with pytest.raises(NotFound, match="no training set 'unused-"):
        own.remove_training_set(made.id)


def test_publish_and_verify_online(own: Verbs, own_shop: FeatureStore) -> None:
    shop.add(own_shop, "shop.orders", shop.order_rows().slice(3, 1))
    own_shop.materialize()
    assert [(result.view, result.rows) for result in own.publish()] == [("customer_orders", 0), ("customer_profile", 0)]
    (full,) = own.publish("customer_orders", full=True)
    assert (full.rows, full.snapshot_id) == (2, own_shop.view("customer_orders").snapshot_id)
    assert [(result.view, result.rows, result.same, result.differences) for result in own.verify_online()] == [
        ("customer_orders", 2, True, []),
        ("customer_profile", 2, True, []),
    ]
    own_shop.backend.runtime.online.drop("customer_orders_v1")
    (lost,) = own.verify_online("customer_orders", sample=1)
    assert (lost.same, lost.rows, lost.missing, lost["missing"]) == (False, 1, 1, 1)
    assert [difference.what for difference in lost.differences] == ["missing"]
    assert lost.to_dict() == {**lost.to_dict(), "same": False, "snapshot_id": str(full.snapshot_id)}
    for verb in (own.publish, own.verify_online):
        with pytest.raises(NotFound, match="did you mean 'customer_orders'"):
            verb(["customer_order"])
    with pytest.raises(RequestError, match="sample=0"):
        own.verify_online(sample=0)


def test_repair(own: Verbs, own_shop: FeatureStore) -> None:
    assert own.repair() == []
    table = own_shop.catalog.load_table("features.customer_orders_v1")
    for path in table.inspect.files()["file_path"].to_pylist():
        Path(str(path).removeprefix("file://")).unlink()
    (told,) = own.repair(dry_run=True)
    assert (told.table, told.missing > 0, told.back_to) == ("features.customer_orders_v1", True, None)
    assert own.repair() == [told]
    assert own.repair() == []


def test_maintain(own: Verbs) -> None:
    made = train(own, shop.spine())
    assert {report.table for report in own.maintain(timedelta(0), dry_run=True)} >= {"features.customer_orders_v1", "training_sets.churn"}
    own.maintain(timedelta(0))
    assert own.rebuild(made.id).digest == made.digest


WRONG: dict[str, tuple[type[FeatureStoreError], Any]] = {
    "no service": (NotFound, lambda store: store.online_features("chur", [{"customer_id": 1}])),
    "no key": (RequestError, lambda store: store.online_features("plain", [{"customer": 1}])),
    "a key of a wrong type": (TypeMismatch, lambda store: store.online_features("plain", [{"customer_id": "x"}])),
    "no request": (RequestError, lambda store: store.online_features("churn", [{"customer_id": 1}])),
    "no view": (NotFound, lambda store: store.view("customer_order")),
    "no such service": (NotFound, lambda store: store.service("chürn ?#%")),
    "no training set": (NotFound, lambda store: store.get_training_set("churn-0")),
    "no timestamp": (RequestError, lambda store: train(store, shop.spine(), timestamp="when")),
    "no label": (RequestError, lambda store: train(store, shop.spine(), label="churn")),
    "no snapshot": (NotFound, lambda store: train(store, shop.spine(), snapshots={"customer_orders_v1": 1})),
    "no table": (NotFound, lambda store: train(store, "iceberg:shop.order")),
    "no file": (NotFound, lambda store: train(store, "/nowhere/x.parquet")),
    "no spine": (RequestError, lambda store: train(store, 3)),
    "no key column": (RequestError, lambda store: train(store, shop.spine().drop_columns(["customer_id"]))),
    "a name that is none": (RequestError, lambda store: train(store, shop.spine(), name="a b")),
    "no definitions": (NotFound, lambda store: store.plan("/nowhere")),
    "what is no definition": (DefinitionError, lambda store: store.plan(["x"])),
    "a service of nothing": (DefinitionError, lambda store: store.plan([FeatureService("x y", [])])),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_are_the_same(store: Verbs, home: FeatureStore, case: str) -> None:
    kind, act = WRONG[case]
    with pytest.raises(kind) as here:
        act(home)
    with pytest.raises(kind) as there:
        act(store)
    assert type(there.value) is type(here.value)
    assert there.value.message == here.value.message
    assert str(there.value) == str(here.value)
    assert {**there.value.details} == {name: value for name, value in here.value.details.items() if name != "reason"}


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 99999999999999999999])
def test_a_number_that_is_too_large_is_named_with_its_row_and_column(store: Verbs, number: int) -> None:
    (row,) = shop.spine().slice(0, 1).to_pylist()
    beyond = f"{number} does not fit in BIGINT (64 bits)"
    for act in (
        lambda: train(store, [row, {**row, "customer_id": number}]),
        lambda: train(store, [row, {**row, "visits": number}]),
        lambda: store.online_features("churn", [{"customer_id": number}], [{"basket": 1.0}]),
    ):
        with pytest.raises(TypeMismatch) as caught:
            act()
        assert caught.value.message.endswith(beyond)
        assert "customer_id" in caught.value.message or "row 1 of the spine, column 'visits'" in caught.value.message


def test_a_large_whole_number_of_a_floating_point_request_field_is_read(home: FeatureStore) -> None:
    (row,) = shop.spine().slice(0, 1).to_pylist()
    assert train(home, [{**row, "basket": 10**20}]).to_arrow()["basket"].to_pylist() == [1e20]


def test_a_key_of_another_width_that_does_not_fit_is_named(home: FeatureStore) -> None:
    for column in (pa.array([1, 2**64 - 1], pa.uint64()), pl.Series([1, 2**64 - 1], dtype=pl.UInt64).to_arrow()):
        spine = shop.spine().slice(0, 2).set_column(0, "customer_id", column)
        with pytest.raises(TypeMismatch, match=r"'customer_id': 18446744073709551615 does not fit in BIGINT \(64 bits\)"):
            train(home, spine)


def test_rows_that_lack_a_column_lose_no_other(store: Verbs) -> None:
    first, second = shop.spine().slice(0, 2).to_pylist()
    del first["churned"]
    assert train(store, [first, second]).to_arrow()["churned"].to_pylist() == [None, False]
    with pytest.raises(TypeMismatch, match="'basket' mixes types"):
        train(store, [first, {**second, "basket": "x"}])
    with pytest.raises(RequestError, match="row 1 of the spine is int"):
        train(store, [first, 3])
