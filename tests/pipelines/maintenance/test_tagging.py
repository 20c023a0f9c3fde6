"""Named versions: set on all tables or on none, read wherever a snapshot is, kept by maintenance, and finished after an interruption."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from featurestore import FeatureStore
from featurestore.errors import CommitConflict, Conflict, FeatureStoreError, NotFound, RequestError
from tests.pipelines.orders import SPINE, churn, moved, rows
from tests.worlds import Template, load_source

pytestmark = pytest.mark.slow

TABLES = ("features.counts_v1", "features.profile_v1", "shop.orders")
NAME = "release-2026-11"
MARK = f"@{NAME}"
LATER = [{"customer_id": key, "t": "2026-01-01"} for key in (0, 1, 4)]


class Killed(BaseException):
    """The process is gone."""


class Interference:
    """Calls `act` instead of or after the commit of a number, counted from 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], object], after: bool = False) -> None:
        self._number, self._act, self._after = number, act, after
        self._count = 0
        commit = SqlCatalog.commit_table

        def counted(catalog: SqlCatalog, *arguments: Any) -> Any:
            self._count += 1
            now = self._count == self._number
            if now and not self._after:
                self._act()
            response = commit(catalog, *arguments)
            if now and self._after:
                self._act()
            return response

        monkeypatch.setattr(SqlCatalog, "commit_table", counted)

    @property
    def came(self) -> bool:
        return self._count >= self._number


def kill() -> None:
    raise Killed


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    def fill(store: FeatureStore) -> None:
        load_source(store, "shop.orders", rows(3))
        store.apply([churn])
        store.materialize()

    return Template(tmp_path_factory.mktemp("tagging"), fill)


@pytest.fixture
def store(template: Template) -> Iterator[FeatureStore]:
    with template.opened() as store:
        yield store


def tagged(store: FeatureStore, name: str = NAME) -> dict[str, int]:
    """The tables with an Iceberg tag of this name, and its snapshot."""
    refs = {table: store.catalog.load_table(table).refs() for table in TABLES}
    return {table: found[name].snapshot_id for table, found in refs.items() if name in found}


def current(store: FeatureStore) -> dict[str, int]:
    snapshots = {table: store.catalog.load_table(table).current_snapshot() for table in TABLES}
    return {table: snapshot.snapshot_id for table, snapshot in snapshots.items() if snapshot is not None}


def change(store: FeatureStore) -> None:
    """New orders, so that every table has another snapshot."""
    store.catalog.load_table("shop.orders").append(rows(5))
    store.materialize()


def settled(store: FeatureStore) -> bool:
    """Whether the Iceberg tags are those of the registry; whether the name exists."""
    versions = {version.name: version for version in store.tags()}
    if NAME in versions:
        assert versions[NAME].complete
        assert tagged(store) == dict(versions[NAME].tables)
        return True
    assert tagged(store) == {}
    return False


def test_all_tables_are_pinned(store: FeatureStore) -> None:
    before = current(store)
    version = store.tag(NAME, by="ann")
    assert (version.name, dict(version.tables), version.by, version.complete) == (NAME, before, "ann", True)
    assert tagged(store) == before
    assert store.tags() == [version]
    change(store)
    assert set(current(store).values()).isdisjoint(before.values())
    assert tagged(store) == before


def test_named_tables_are_pinned(store: FeatureStore) -> None:
    assert set(store.tag("by-view", "counts").tables) == {"features.counts_v1"}
    assert set(store.tag("by-table", ["counts_v1", "shop.orders", "features.counts_v1"]).tables) == {"features.counts_v1", "shop.orders"}
    assert [version.name for version in store.tags()] == ["by-table", "by-view"]
    with pytest.raises(NotFound, match=r"no table 'shop.order'; did you mean 'shop.orders'"):
        store.tag("wrong", ["shop.order"])
    assert len(store.tags()) == 2


def test_a_tag_is_read_wherever_a_snapshot_is(store: FeatureStore) -> None:
    load_source(store, "shop.asked", rows(3).drop_columns(["status"]))
    store.tag(NAME, [*TABLES, "shop.asked"])
    expected = store.point_in_time("churn", LATER, "t").to_pylist()
    built = store.training_set("churn", LATER, "t", name="before")
    change(store)
    assert store.point_in_time("churn", LATER, "t").to_pylist() != expected
    pinned = [
        store.point_in_time("churn", LATER, "t", snapshots=MARK),
        store.point_in_time("churn", LATER, "t", snapshots={"counts_v1": MARK, "profile_v1": MARK}),
        store.point_in_time("churn", LATER, "t", snapshots={"counts_v1": MARK, "profile_v1": current_of(store, "profile_v1")}),
    ]
    assert [table.to_pylist() == expected for table in pinned] == [True, True, False]
    again = store.training_set("churn", LATER, "t", name="before", snapshots=MARK)
    assert (again.id, again.snapshots) == (built.id, built.snapshots)
    store.catalog.load_table("shop.asked").append(rows(5).drop_columns(["status"]))
    assert len(store.point_in_time("churn", f"iceberg:shop.asked{MARK}", "at")) == 3
    assert len(store.point_in_time("churn", "iceberg:shop.asked", "at")) == 8
    # A spine from the catalog is one of the tables that a tag pins without being named.
    store.training_set("churn", "iceberg:shop.asked", "at", name="asked")
    assert "shop.asked" in store.tag("all").tables


def current_of(store: FeatureStore, table: str) -> int:
    return current(store)[f"features.{table}"]


def test_a_tag_that_does_not_fit_is_named(store: FeatureStore) -> None:
    store.tag("counts-only", ["counts"])
    with pytest.raises(NotFound, match="no tag 'release'; known: 'counts-only'"):
        store.point_in_time("churn", SPINE, "t", snapshots="@release")
    with pytest.raises(NotFound, match=r"no table 'features.profile_v1' in the tag counts-only"):
        store.point_in_time("churn", SPINE, "t", snapshots="@counts-only")
    with pytest.raises(NotFound, match=r"no snapshot 'release' in shop.orders"):
        store.point_in_time("churn", "iceberg:shop.orders@release", "at")
    with pytest.raises(RequestError, match="snapshots: counts_v1 must be a snapshot id, not 'counts-only'; a tag has an @"):
        store.point_in_time("churn", SPINE, "t", snapshots={"counts_v1": "counts-only"})
    with pytest.raises(NotFound, match="no tag 'none'; known: 'counts-only'"):
        store.remove_tag("none")


def test_a_tag_is_never_moved(store: FeatureStore) -> None:
    first = store.tag(NAME, by="ann")
    assert store.tag(NAME, by="bob") == first
    with pytest.raises(Conflict, match=rf"the tag {NAME} was set by ann at .* stands for other snapshots"):
        store.tag(NAME, ["counts"])
    change(store)
    with pytest.raises(Conflict, match="a tag is never moved"):
        store.tag(NAME)
    assert store.tags() == [first]
    assert tagged(store) == dict(first.tables)
    store.remove_tag(MARK)
    assert dict(store.tag(NAME).tables) == current(store) == tagged(store)


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "main", "MAIN", "-a", "1", "123", "a/b", "a@b", "@a", "a.", "ü", "a" * 101, "training-set-x", "inference-1", 5]
)
def test_names_are_checked(store: FeatureStore, name: Any) -> None:
    with pytest.raises(RequestError, match="name="):
        store.tag(name)
    assert store.tags() == []


def test_nothing_to_tag(tmp_path: Any) -> None:
    with FeatureStore(home=tmp_path) as empty:
        with pytest.raises(RequestError, match="there are no tables to tag"):
            empty.tag(NAME)
        assert empty.tags() == []


def test_another_programs_tag_is_left_alone(store: FeatureStore) -> None:
    table = store.catalog.load_table("shop.orders")
    snapshot = table.current_snapshot()
    assert snapshot is not None
    table.manage_snapshots().create_tag(snapshot.snapshot_id, NAME).commit()
    with pytest.raises(Conflict, match=rf"shop.orders has a tag or branch {NAME} that `featurestore tag` did not set"):
        store.tag(NAME)
    assert store.tags() == []
    assert tagged(store) == {"shop.orders": snapshot.snapshot_id}


def test_a_table_without_rows_has_none(store: FeatureStore) -> None:
    store.apply([moved])
    version = store.tag(NAME)
    assert version.tables["features.counts_v2"] is None
    assert version.complete
    store.materialize()
    store.tag("filled")
    assert store.point_in_time("churn", LATER, "t", snapshots={"counts_v2": MARK}).column("n_14d").null_count == 3


def test_a_table_that_was_created_again_is_another(store: FeatureStore) -> None:
    store.tag(NAME)
    store.catalog.drop_table("shop.orders")
    load_source(store, "shop.orders", rows(4))
    with pytest.raises(Conflict, match=r"shop.orders was dropped and created again since the tag"):
        store.point_in_time("churn", f"iceberg:shop.orders{MARK}", "at")
    store.remove_tag(NAME)
    assert store.tags() == []


def test_maintenance_keeps_what_a_tag_pins(store: FeatureStore) -> None:
    version = store.tag(NAME)
    expected = store.point_in_time("churn", LATER, "t").to_pylist()
    change(store)
    store.maintain(older_than=timedelta(0))
    assert store.point_in_time("churn", LATER, "t", snapshots=MARK).to_pylist() == expected
    kept = {(row.table, row.snapshot_id): row.by for row in store.explain_retention()}
    pinned = version.tables["features.counts_v1"]
    assert pinned is not None
    assert f"tag {NAME}" in kept["features.counts_v1", pinned]
    with pytest.raises(Conflict, match=rf"pinned by the tag {NAME} \(remove them with `featurestore tag NAME --remove`\)"):
        store.remove_view("counts")
    built = store.training_set("churn", LATER, "t", snapshots=MARK)
    store.remove_tag(NAME)
    store.maintain(older_than=timedelta(0))
    # A training set keeps what it was made from.
    assert store.rebuild(built.id).digest == built.digest
    with pytest.raises(NotFound, match=f"no tag '{NAME}'"):
        store.point_in_time("churn", LATER, "t", snapshots=MARK)


def test_a_removed_tag_keeps_nothing(store: FeatureStore) -> None:
    version = store.tag(NAME)
    change(store)
    prepared = store.backend.prepare_training_set(request(snapshots=MARK))
    store.remove_tag(NAME)
    store.maintain(older_than=timedelta(0))
    kept = {row.snapshot_id for row in store.explain_retention()}
    assert version.tables["features.counts_v1"] not in kept
    # It was removed after the request had found its snapshots: nothing wrong is read.
    with pytest.raises(NotFound, match="snapshot"):
        store.backend.build_training_set(prepared)
    assert store.training_sets() == []


def test_a_read_that_has_begun_goes_on_after_a_removal(store: FeatureStore) -> None:
    store.tag(NAME)
    change(store)
    prepared = store.backend.prepare_training_set(request(snapshots=MARK))
    store.remove_tag(NAME)
    assert store.backend.build_training_set(prepared).snapshots == {table: at.snapshot_id for table, at in prepared.pinned.items()}


def request(**options: Any) -> Any:
    from featurestore.pipelines.training_sets.request import TrainingSetRequest  # noqa: PLC0415

    return TrainingSetRequest.of("churn", LATER, "t", **options)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 6))
def test_a_tag_that_was_cut_off_is_finished_or_undone(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int, after: bool
) -> None:
    store.tag("other", ["profile"])
    with monkeypatch.context() as patch:
        Interference(patch, number, kill, after)
        with pytest.raises(Killed):
            store.tag(NAME)
    recorded = [version for version in store.tags() if version.name == NAME]
    # From its row on, the name stands for the snapshots.
    assert bool(recorded) == ((number, after) >= (1, True))
    if recorded:
        assert store.point_in_time("churn", LATER, "t", snapshots=MARK).num_rows == 3
    with FeatureStore(home=store.settings.home) as again:
        # The next call, of another name, finishes it.
        again.remove_tag("other")
        assert settled(again) == bool(recorded)
        assert dict(again.tag(NAME).tables) == current(again)
        assert settled(again)


@pytest.mark.parametrize("number", range(1, 6))
def test_maintenance_finishes_a_tag_before_anything_expires(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    before = current(store)
    with monkeypatch.context() as patch:
        Interference(patch, number, kill, after=True)
        with pytest.raises(Killed):
            store.tag(NAME)
    change(store)
    store.maintain(older_than=timedelta(0))
    assert settled(store)
    assert tagged(store) == before
    assert store.point_in_time("churn", LATER, "t", snapshots=MARK).num_rows == 3


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("finish", ["the same", "maintain", "another tag"])
def test_a_removal_that_was_cut_off_is_finished(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int, after: bool, finish: str
) -> None:
    store.tag(NAME)
    with monkeypatch.context() as patch:
        Interference(patch, number, kill, after)
        with pytest.raises(Killed):
            store.remove_tag(NAME)
    begun = (number, after) >= (1, True)
    assert [version.name for version in store.tags()] == ([] if begun else [NAME])
    if finish == "maintain":
        store.maintain()
        # Source tables are not maintained, but their tags are.
        assert settled(store) is not begun
    elif finish == "another tag":
        store.tag("other", ["counts"])
        assert settled(store) is not begun
    elif (number, after) == (5, True):
        with pytest.raises(NotFound):
            store.remove_tag(NAME)
    else:
        assert store.remove_tag(NAME).name == NAME
        assert not settled(store)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(2, 6))
def test_a_removal_while_it_is_set_wins(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int, after: bool) -> None:
    with FeatureStore(home=store.settings.home) as other, monkeypatch.context() as patch:
        met = Interference(patch, number, lambda: other.remove_tag(NAME), after)
        if (number, after) == (5, True):
            # Everything was set: it was removed afterwards.
            assert store.tag(NAME).complete
        else:
            with pytest.raises(CommitConflict, match=f"the tag {NAME} was removed by another call while it was being set"):
                store.tag(NAME)
        assert met.came
    assert not settled(store)
    store.tag(NAME)
    assert settled(store)


@pytest.mark.parametrize("number", range(2, 5))
@pytest.mark.parametrize("maintained", [False, True])
def test_a_tag_that_was_left_after_a_removal_is_no_tag(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int, maintained: bool
) -> None:
    def remove_and_die() -> None:
        other.remove_tag(NAME)
        # After the commit that is about to be carried out.
        Interference(patch, 1, kill)

    with FeatureStore(home=store.settings.home) as other, monkeypatch.context() as patch:
        Interference(patch, number, remove_and_die)
        with pytest.raises(Killed):
            store.tag(NAME)
    assert store.tags() == []
    (left,) = tagged(store)
    if maintained:
        notes = {done.table: done.note for done in store.maintain(dry_run=True)}
        done = {done.table: done.note for done in store.maintain()}
        # Source tables are not maintained.
        expected = None if left.startswith("shop.") else f"tags of an interrupted call removed: {NAME}"
        assert (notes.get(left), done.get(left)) == (expected, expected)
        assert tagged(store).keys() == ({left} if expected is None else set())
    change(store)
    store.tag(NAME)
    assert settled(store)


def test_a_snapshot_that_expires_meanwhile_undoes_the_tag(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def expire() -> None:
        change(other)
        table = other.catalog.load_table("features.counts_v1")
        table.maintenance.expire_snapshots().older_than(_far()).commit()

    with FeatureStore(home=store.settings.home) as other, monkeypatch.context() as patch:
        Interference(patch, 1, expire, after=True)
        with pytest.raises(NotFound, match=f"the tag {NAME} was not set: no snapshot"):
            store.tag(NAME)
    assert not settled(store)
    store.tag(NAME)
    assert settled(store)


def _far() -> Any:
    from datetime import datetime  # noqa: PLC0415

    return datetime(2999, 1, 1)  # noqa: DTZ001 - as pyiceberg takes it


@pytest.mark.parametrize("same", [True, False], ids=["same tables", "other tables"])
def test_of_two_taggers_of_one_name_one_wins(store: FeatureStore, same: bool) -> None:
    for attempt in range(4):
        name = f"race-{attempt}"
        barrier = threading.Barrier(2)
        outcomes: dict[int, Any] = {}

        def call(number: int, name: str = name, barrier: threading.Barrier = barrier, outcomes: dict[int, Any] = outcomes) -> None:
            with FeatureStore(home=store.settings.home) as own:
                own.tags()
                barrier.wait()
                try:
                    outcomes[number] = own.tag(name, None if same else [("counts", "profile")[number]], by=str(number))
                except FeatureStoreError as error:
                    outcomes[number] = error

        threads = [threading.Thread(target=call, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (version,) = [version for version in store.tags() if version.name == name]
        assert version.complete
        assert tagged(store, name) == dict(version.tables)
        lost = [outcome for outcome in outcomes.values() if isinstance(outcome, FeatureStoreError)]
        if same:
            assert [dict(outcome.tables) for outcome in outcomes.values()] == [dict(version.tables)] * 2
        else:
            assert len(lost) == 1
            assert isinstance(lost[0], Conflict)
            assert "stands for other snapshots" in str(lost[0])
