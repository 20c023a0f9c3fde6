"""Removing versions, views and services: refused while they are in use, and completed by a second attempt after an interruption."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from featurestore import Entity, FeatureService, FeatureStore, agg
from featurestore.errors import CommitConflict, Conflict, NotFound
from featurestore.lakehouse import tables, tags
from featurestore.pipelines.maintenance import maintain, removal
from featurestore.records import definitions, model_events
from featurestore.records.runtime import Runtime
from tests.pipelines.orders import SPINE, churn, counts, moved, profile, rows, wider
from tests.worlds import Template, load_source


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    def fill(store: FeatureStore) -> None:
        load_source(store, "shop.orders", rows(3))
        store.apply([churn])
        store.materialize()

    return Template(tmp_path_factory.mktemp("removal"), fill)


@pytest.fixture
def store(template: Template) -> Iterator[FeatureStore]:
    """A store with one version of everything, filled."""
    with template.opened() as store:
        yield store


def move(store: FeatureStore) -> None:
    """Let the service go on to the second version of the view."""
    store.apply([moved])
    store.materialize()


def folder(store: FeatureStore, table: str = "counts_v1") -> Path:
    return Path(store.settings.home, "warehouse", "features", table)


def history(store: FeatureStore) -> int:
    """How many rows the registry has; every one that it ever had."""
    return len(store.catalog.load_table("registry.definitions").scan().to_arrow())


def as_it_was(store: FeatureStore, act: Callable[[], object], message: str) -> Conflict:
    """Refused with this message, and nothing is different."""
    before = (history(store), store.view("counts"), store.services(), sorted(map(str, folder(store).rglob("*"))))
    with pytest.raises(Conflict, match=message) as caught:
        act()
    assert (history(store), store.view("counts"), store.services(), sorted(map(str, folder(store).rglob("*")))) == before
    return caught.value


@pytest.mark.slow
def test_an_old_version_goes_with_all_it_had(store: FeatureStore) -> None:
    move(store)
    parts = Runtime(store.settings)
    assert parts.online.cursor("counts_v1") is not None
    files = [path for path in folder(store).rglob("*") if path.is_file()]
    looked = store.remove_version("counts", 1, dry_run=True)
    assert folder(store).exists()
    done = store.remove_version("counts", 1)
    assert done == looked
    assert (done.kind, done.name, done.versions, done.services) == ("view", "counts", (1,), ("churn v1",))
    assert (done.files, done.bytes) == (len(files), looked.bytes)
    assert not folder(store).exists()
    assert not store.catalog.table_exists("features.counts_v1")
    assert parts.online.cursor("counts_v1") is None
    assert [version["version"] for version in store.view("counts")["versions"]] == [2]
    assert [version["version"] for version in store.service("churn")["versions"]] == [2]
    assert store.online_features("churn", [{"customer_id": 1}]).features == ("n_7d", "n_14d", "status")
    with pytest.raises(NotFound, match="no version '1' in view counts; known: '2'"):
        store.remove_version("counts", 1)


@pytest.mark.slow
def test_the_current_version_stays(store: FeatureStore) -> None:
    as_it_was(store, lambda: store.remove_version("counts", 1), "version 1 is the current version of view counts")
    with pytest.raises(NotFound, match="version '7'"):
        store.remove_version("counts", 7)
    with pytest.raises(NotFound, match="did you mean 'counts'"):
        store.remove_version("count", 1)


@pytest.mark.slow
def test_what_a_service_reads_stays_until_it_has_moved(store: FeatureStore) -> None:
    store.apply([moved])
    refused = as_it_was(store, lambda: store.remove_version("counts", 1), "read by the service churn v1")
    assert refused.details["services"] == ["churn v1"]
    store.materialize("profile")
    as_it_was(store, lambda: store.remove_version("counts", 1), "read by the service churn v1")
    store.materialize()
    assert store.remove_version("counts", 1).versions == (1,)


@pytest.mark.slow
def test_what_an_applied_service_waits_for_stays(store: FeatureStore) -> None:
    store.apply([moved])
    store.apply([replace(counts, features={"n": agg.count(over="21d")})])
    refused = as_it_was(store, lambda: store.remove_version("counts", 2), "read by the service churn v2")
    assert refused.details["services"] == ["churn v2"]


@pytest.mark.slow
def test_what_a_registered_model_needs_stays(store: FeatureStore) -> None:
    event = model_events.Event("registered", "churn", "3", "m-1", "run", "gone-1", {"counts_v1": None})
    model_events.record_events(
        store.catalog, store.settings, [event.of("logged", "scratch", None), event, event.of("registered", "churn", "12")]
    )
    move(store)
    refused = as_it_was(store, lambda: store.remove_version("counts", 1), "the registered models churn/12, churn/3|churn/3, churn/12")
    assert sorted(refused.details["models"]) == ["churn/12", "churn/3"]


@pytest.mark.slow
def test_what_a_training_set_pins_stays(store: FeatureStore) -> None:
    ids = [store.training_set("churn", SPINE, "t", name=name).id for name in ("first", "second")]
    move(store)
    refused = as_it_was(store, lambda: store.remove_version("counts", 1), f"pinned by the training sets {ids[1]}, {ids[0]}")
    assert refused.details["training_sets"] == ids[::-1]
    as_it_was(store, lambda: store.remove_view("counts"), "training sets")
    for id in ids:
        assert store.rebuild(id).id == id


@pytest.mark.slow
def test_what_a_training_set_found_empty_stays(store: FeatureStore) -> None:
    store.apply([replace(counts, name="later"), FeatureService("late", features=[replace(counts, name="later")])])
    made = store.training_set("late", SPINE, "t")
    assert made.snapshots == {"later_v1": None}
    store.apply([replace(wider, name="later"), FeatureService("late", features=[replace(wider, name="later")])])
    store.materialize()
    with pytest.raises(Conflict, match=made.id):
        store.remove_version("later", 1)
    assert store.rebuild(made.id).id == made.id


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "moment,whole",
    [
        ("before the table is dropped", False),
        pytest.param("after the table is dropped", False, marks=pytest.mark.slow),
        pytest.param("before the table is dropped", True, marks=pytest.mark.slow),
        pytest.param("after the table is dropped", True, marks=pytest.mark.slow),
    ],
)
def test_one_that_was_killed_is_ended_by_asking_again(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, moment: str, whole: bool
) -> None:
    move(store)
    if whole:
        store.remove_service("churn")
    drop = SqlCatalog.drop_table

    def killed(catalog: SqlCatalog, identifier: str) -> None:
        if moment.startswith("after"):
            drop(catalog, identifier)
        raise Killed

    def remove(with_store: FeatureStore) -> removal.Removal:
        return with_store.remove_view("counts") if whole else with_store.remove_version("counts", 1)

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "drop_table", killed)
        with pytest.raises(Killed):
            remove(store)
    with FeatureStore(home=store.settings.home) as again:
        assert [view["name"] for view in again.views()] == (["profile"] if whole else ["counts", "profile"])
        assert not again.plan([profile] if whole else [moved]).changed
        again.materialize()
        assert folder(again).exists()
        assert remove(again).versions == ((1, 2) if whole else (1,))
        assert not folder(again).exists()
        assert not again.catalog.table_exists("features.counts_v1")
        with pytest.raises(NotFound):
            remove(again)


@pytest.mark.slow
def test_a_pin_that_came_in_between_puts_everything_back(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    move(store)

    def killed(catalog: SqlCatalog, identifier: str) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "drop_table", killed)
        with pytest.raises(Killed):
            store.remove_version("counts", 1)
    table = tables.load(store.catalog, "features.counts_v1")
    assert table.snapshot_id is not None
    tags.set_tag(table, "training-set-meanwhile-1", table.snapshot_id)
    with pytest.raises(Conflict, match="pinned by the training set meanwhile-1"):
        store.remove_version("counts", 1)
    assert [version["version"] for version in store.view("counts")["versions"]] == [1, 2]
    assert store.view("counts")["versions"][0]["snapshot_id"] == str(table.snapshot_id)


@pytest.mark.slow
def test_what_a_build_held_that_was_cut_off_stays_for_a_day(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    move(store)
    note = {"at": datetime.now(UTC).isoformat(), "training_set": "training_sets.never", "build": "dead"}
    for name in ("counts_v1", "profile_v1"):
        table = tables.load(store.catalog, f"features.{name}")
        tags.set_tag(table, "training-set-never-1", table.snapshot_ids[-1], json.dumps(note))
    refused = as_it_was(store, lambda: store.remove_version("counts", 1), "pinned by the unfinished build of never-1")
    assert refused.details["training_sets"] == ["never-1"]
    store.maintain()
    as_it_was(store, lambda: store.remove_version("counts", 1), "pinned by the unfinished build of never-1")
    monkeypatch.setattr(maintain, "GRACE", timedelta(0))
    store.catalog.load_table("shop.orders").append(rows(5))
    store.materialize()
    planned, done = (
        {report["table"]: (report["snapshots"], report["note"]) for report in store.maintain(older_than=timedelta(0), dry_run=dry)}
        for dry in (True, False)
    )
    assert planned == done
    assert done["features.profile_v1"][0] == 1
    assert "never-1" in done["features.counts_v1"][1]
    assert store.remove_version("counts", 1).versions == (1,)


@pytest.mark.slow
def test_someone_who_applies_meanwhile_wins(store: FeatureStore) -> None:
    move(store)
    parts = Runtime(store.settings)
    base = definitions.read_registry(parts).snapshot_id
    store.apply([Entity("seller", "seller_id")])
    with pytest.raises(CommitConflict, match="nothing was removed, try again"):
        definitions.append_to_registry(parts, [], base, action="remove")


@pytest.mark.slow
def test_a_table_of_the_same_name_that_someone_made_is_not_touched(store: FeatureStore) -> None:
    move(store)
    store.remove_version("counts", 1)
    load_source(store, "features.counts_v1", pa.table({"mine": [1, 2]}))
    with pytest.raises(NotFound, match="version '1'"):
        store.remove_version("counts", 1)
    assert store.catalog.load_table("features.counts_v1").scan().to_arrow()["mine"].to_pylist() == [1, 2]


@pytest.mark.slow
def test_a_whole_view_goes_when_no_service_reads_it(store: FeatureStore) -> None:
    move(store)
    as_it_was(store, lambda: store.remove_view("counts"), "versions 1, 2 of view counts cannot be removed: read by the service churn v2")
    assert store.remove_service("churn", dry_run=True).versions == (1, 2)
    assert store.remove_service("churn").versions == (1, 2)
    with pytest.raises(NotFound):
        store.online_features("churn", [{"customer_id": 1}])
    assert store.remove_view("counts").versions == (1, 2)
    assert [view["name"] for view in store.views()] == ["profile"]
    assert not folder(store).exists()
    assert not folder(store, "counts_v2").exists()
    with pytest.raises(NotFound):
        store.remove_view("counts")
    with pytest.raises(NotFound):
        store.remove_service("churn")


@pytest.mark.slow
def test_a_number_is_never_given_again(store: FeatureStore) -> None:
    move(store)
    store.remove_service("churn")
    store.remove_view("counts")
    plan = store.apply([churn])
    assert {step.name: (step.action, step.version) for step in plan.steps if step.kind in ("view", "service")} == {
        "counts": ("create", 3),
        "profile": ("unchanged", 1),
        "churn": ("create", 3),
    }
    store.materialize()
    assert store.online_features("churn", [{"customer_id": 1}]).features == ("n_7d", "status")
    assert history(store) == 5 + 2 + 2 + 2 + 2, "entity, source, views, service; one more of each; both services, both views; again"


@pytest.mark.slow
def test_a_version_that_was_never_filled_goes_once_nothing_uses_it(store: FeatureStore) -> None:
    store.apply([moved])
    as_it_was(store, lambda: store.remove_version("counts", 2), "read by the service churn v2")
    store.apply([churn])
    assert store.view("counts")["version"] == 1
    gone = store.remove_version("counts", 2)
    assert (gone.versions, gone.services) == ((2,), ("churn v2",))
    assert [row["version"] for row in store.view("counts")["versions"]] == [1]
    assert store.backend.service_plan("churn").version == 1


@pytest.mark.slow
def test_a_current_version_that_was_never_filled_gives_way_to_the_one_before(store: FeatureStore) -> None:
    store.apply([wider])
    assert store.view("counts")["version"] == 2
    assert store.remove_version("counts", 2).versions == (2,)
    assert store.view("counts")["version"] == 1
    as_it_was(store, lambda: store.remove_version("counts", 1), "current version of view counts")
    assert store.online_features("churn", [{"customer_id": 1}]).status["counts"] == ("PRESENT",)


@pytest.mark.slow
def test_what_was_rolled_back_from_goes_and_its_number_is_not_given_again(store: FeatureStore) -> None:
    move(store)
    store.apply([churn])
    store.materialize()
    gone = store.remove_version("counts", 2)
    assert (gone.versions, gone.services) == ((2,), ("churn v2",))
    step = next(step for step in store.apply([moved]).steps if step.name == "counts")
    assert (step.action, step.version) == ("new version", 3)
    assert store.view("counts")["version"] == 3
