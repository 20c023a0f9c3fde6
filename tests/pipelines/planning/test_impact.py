"""The impact of a plan: changed SQL, models on older versions, and what backfills read."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from featurestore import FeatureService, FeatureStore, Source
from featurestore.pipelines.planning.plan import Plan
from featurestore.pipelines.planning.step import Step
from featurestore.records import model_events
from tests.pipelines.orders import SPINE, churn, counts, moved, profile, rows
from tests.worlds import load_source


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(home=tmp_path / "home")
    load_source(store, "shop.orders", rows(3)).append(rows(2))
    return store


def step(plan: Plan, kind: str, name: str) -> Step:
    (match,) = [step for step in plan.steps if (step.kind, step.name) == (kind, name)]
    return match


def size(store: FeatureStore, table: str) -> int:
    return sum(task.file.file_size_in_bytes for task in store.catalog.load_table(table).scan().plan_files())


def register_model(store: FeatureStore, version: str, service: str = "churn") -> None:
    """What logging and registering a model leaves behind."""
    trained = store.training_set(service, SPINE, "t", name=f"set_{version}")
    event = model_events.Event("registered", "churn", version, "m-1", "run", trained.id, trained.snapshots)
    model_events.record_events(store.catalog, store.settings, [event.of("logged", "churn", None), event])


def test_backfills_are_known_from_metadata_alone(store: FeatureStore) -> None:
    plan = store.plan([churn])
    (read,) = step(plan, "view", "counts").reads
    table = store.catalog.load_table("shop.orders")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert (read.source, read.snapshot_id) == ("shop.orders", snapshot.snapshot_id)
    assert (read.files, read.bytes, read.rows) == (2, size(store, "shop.orders"), 5)
    assert (plan.reads.files, plan.reads.rows) == (4, 10), "two views read the table once each"
    assert step(plan, "service", "churn").reads == ()
    for task in table.scan().plan_files():
        Path(task.file.file_path.removeprefix("file://")).unlink()
    assert step(store.plan([churn]), "view", "counts").reads == (read,)


@pytest.mark.slow
def test_an_applied_view_waits_until_it_is_filled(store: FeatureStore) -> None:
    store.apply([churn])
    plan = store.plan([churn])
    assert not plan.changed
    assert step(plan, "view", "counts").reason == "waits for its backfill"
    assert step(plan, "view", "counts").reads[0].rows == 5
    assert step(plan, "service", "churn").reason == "waits for counts, profile"
    reworded = step(store.plan([replace(counts, owner="sales")]), "view", "counts")
    assert (reworded.action, reworded.reason) == ("update words", "owner changed; waits for its backfill")
    store.materialize("counts")
    plan = store.plan([churn])
    assert (step(plan, "view", "counts").reason, step(plan, "view", "counts").reads) == ("", ())
    assert step(plan, "service", "churn").reason == "waits for profile"
    store.materialize()
    assert [(planned.reason, planned.reads) for planned in store.plan([churn]).steps] == [("", ())] * 5
    assert str(store.plan([churn])) == "5 definitions unchanged"


def test_files_tell_their_rows_where_that_is_cheap(store: FeatureStore, tmp_path: Path) -> None:
    for name, count in (("a", 2), ("b", 5)):
        pq.write_table(rows(count), tmp_path / f"{name}.parquet")
    (tmp_path / "c.csv").write_text("customer_id,at,status\n1,1970-01-01,a\n")
    total = sum((tmp_path / f"{name}.parquet").stat().st_size for name in "ab")
    expected: dict[str, tuple[int, int, int | None]] = {"*.parquet": (2, total, 7), "c.csv": (1, 37, None)}
    for pattern, amount in expected.items():
        source = Source("files", path=str(tmp_path / pattern), timestamp="at")
        (read,) = step(store.plan([replace(profile, source=source)]), "view", "profile").reads
        assert (read.snapshot_id, (read.files, read.bytes, read.rows)) == (None, amount)
    assert read.amount == "1 file, 37 B"


def test_sql_reads_each_of_its_tables(store: FeatureStore) -> None:
    load_source(store, "shop.empty", rows(0))
    sql = "SELECT o.customer_id, o.at, o.status FROM shop.orders o LEFT JOIN shop.empty e ON o.customer_id = e.customer_id"
    view = replace(profile, source=Source("joined", sql=sql, timestamp="at"))
    view_step = step(store.plan([view]), "view", "profile")
    assert {read.source: (read.files, read.bytes, read.rows) for read in view_step.reads} == {
        "shop.orders": (2, size(store, "shop.orders"), 5),
        "shop.empty": (0, 0, 0),
    }
    assert view_step.notes[0].startswith("its backfill reads 2 files, ")


def test_a_new_version_shows_how_its_sql_differs(store: FeatureStore) -> None:
    store.apply([churn])
    plan = store.plan([moved])
    diff = step(plan, "view", "counts").diff
    assert diff is not None
    assert diff.splitlines()[:2] == ["--- counts v1", "+++ counts v2"]
    changed = [line for line in diff.splitlines()[2:] if line[0] in "+-"]
    assert any("n_14d" in line for line in changed if line[0] == "+")
    assert not any("n_14d" in line for line in changed if line[0] == "-")
    assert [planned.name for planned in plan.steps if planned.diff] == ["counts"]
    assert step(store.plan([replace(counts, owner="sales")]), "view", "counts").diff is None


@pytest.mark.slow
def test_models_of_older_versions_are_named(store: FeatureStore) -> None:
    store.apply([churn, FeatureService("other", features=[profile])])
    store.materialize()
    register_model(store, "1")
    register_model(store, "2", service="other")
    plan = store.plan([moved])
    assert step(plan, "view", "counts").models == ("churn/1",)
    assert step(plan, "service", "churn").models == ("churn/1",)
    assert step(plan, "view", "profile").models == ()
    assert "models that stay on older versions: churn/1" in str(plan)
    store.apply(plan)
    assert step(store.plan([moved]), "view", "counts").models == ()
    ttl = replace(profile, ttl="3d")
    assert step(store.plan([ttl]), "view", "profile").models == ("churn/1", "churn/2")


@pytest.mark.slow
def test_what_the_definitions_do_not_have_is_named_and_left(store: FeatureStore) -> None:
    store.apply([churn])
    store.materialize()
    plan = store.plan([profile])
    assert plan.others == (("view", "counts"), ("service", "churn"))
    assert not plan.changed
    assert "in the catalog" not in str(plan), "a list of objects is a part by its nature"
    store.apply([replace(profile, owner="sales")])
    assert [view["name"] for view in store.views()] == ["counts", "profile"]


@pytest.mark.slow
def test_many_names_are_counted(store: FeatureStore, tmp_path: Path) -> None:
    profiles = [replace(profile, name=f"view_{number}") for number in range(8)]
    assert str(store.plan(profiles)).splitlines()[-1].startswith("backfills read 16 files, ")
    store.apply(profiles)
    (tmp_path / "customer.py").write_text('from featurestore import Entity\ncustomer = Entity("customer", keys="customer_id")\n')
    same, others = str(store.plan(tmp_path / "customer.py")).splitlines()
    assert same == "1 definition unchanged"
    assert others.startswith("only in the catalog, and not changed: source orders, view view_0, view view_1, ")
    assert others.endswith(" and 4 more")


def test_a_plan_as_json(store: FeatureStore) -> None:
    store.apply([profile])
    document = store.plan([counts]).to_dict()
    assert document["others"] == [{"kind": "view", "name": "profile"}]
    view = document["steps"][-1]
    assert view["models"] == []
    assert view["diff"] is None
    assert set(view["reads"][0]) == {"source", "snapshot_id", "files", "bytes", "rows"}
    assert view["reads"][0]["snapshot_id"].isdigit()
