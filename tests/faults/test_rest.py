"""A REST catalog with every kind of fault: our errors say what to do, and the store is consistent afterwards."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table

from featurestore import FeatureStore
from featurestore.errors import CommitConflict, FeatureStoreError, NotReady
from featurestore.lakehouse import tables, tags
from featurestore.lakehouse.fence import FENCE
from tests.faults import life
from tests.faults.fault import Failure, Fault
from tests.faults.wires import Rest, wire
from tests.pipelines.materialization.overtaken import lose_lease


@contextmanager
def meanwhile(store: FeatureStore, what: Callable[[], object]) -> Iterator[list[bool]]:
    """Something happens once, when what the store is to take away is about to be committed: after the last look, before it is sent."""
    catalog, happened = store.catalog, list[bool]()
    send = catalog.commit_table

    def commit_once(table: Table, requirements: Any, updates: Any) -> Any:
        removes = any(update.action in ("remove-snapshots", "remove-properties") for update in updates)
        if removes and not happened and "features.last" in ".".join(table.name()):
            happened.append(True)
            what()
        return send(table, requirements, updates)

    catalog.commit_table = commit_once  # type: ignore[method-assign]
    try:
        yield happened
    finally:
        del catalog.commit_table


STATUSES = (400, 401, 403, 404, 409, 419, 429, 500, 502, 503, 504)
FAILURES: tuple[int | str, ...] = (*STATUSES, "cut", "garbage", "slow")
ANY = ("commit", "create", "drop", "read")
VERBS: dict[str, Callable[[FeatureStore], object]] = {
    "plan": lambda store: store.plan(life.declare("3d")),
    "apply": lambda store: store.apply(life.declare("3d")),
    "materialize": lambda store: store.materialize(end=life.END),
    "training set": lambda store: store.training_set("service", life.spine(), "t"),
    "training sets": lambda store: store.training_sets(),
    "views": lambda store: store.views(),
    "maintain": lambda store: store.maintain(older_than=timedelta(0)),
    "remove": lambda store: store.remove_view("counts"),
    "model": life.score,
}


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rest, FeatureStore]]:
    folder = tmp_path_factory.mktemp("rest")
    with wire("rest", folder) as reached:
        assert isinstance(reached, Rest)
        with FeatureStore(settings=reached.settings(folder / "home")) as store:
            life.begin(store)
            store.apply(life.declare())
            store.materialize(end="2026-01-05")
            yield reached, store


@pytest.mark.slow
@pytest.mark.parametrize("what", [*STATUSES, "cut", "garbage"])
def test_every_verb_tells_it_in_our_words(remote: tuple[Rest, FeatureStore], what: int | str) -> None:
    reached, store = remote
    for name, verb in VERBS.items():
        reached.server.fault = Fault(Failure(what, "before"), kinds=ANY, times=10_000)
        try:
            with pytest.raises(FeatureStoreError) as caught:
                verb(store)
        finally:
            reached.server.fault = Fault()
        assert isinstance(caught.value, NotReady), name
        assert any(word in caught.value.message for word in ("check", "run the same", "Run the same", "look", "use")), caught.value


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_that_fails_once(tmp_path: Path, moment: str) -> None:
    """A store that takes up half a day after the other, and its run fails each time in another way."""
    with wire("rest", tmp_path) as reached, FeatureStore(settings=reached.settings(tmp_path / "home")) as store:
        life.begin(store)
        store.apply(life.declare())
        for number, what in enumerate(FAILURES, start=1):
            fault, end = Fault(Failure(what, moment)), life.T + number * timedelta(hours=12)
            # The catalog answers afterwards, so what became of the commit is known: it is refused, or it is there.
            with reached.broken(store, fault), suppress(NotReady):
                store.materialize("last", end=end)
            assert fault.struck == 1, what
            # Where it never came to be, a run that nothing disturbs brings what is missing.
            store.materialize("last", end=end)
            times = store.catalog.load_table("features.last_v1").scan().to_arrow()["feature_timestamp"].to_pylist()
            assert len(times) == len(set(times)), what
            assert sorted(times) == [at for at in life.events(0, 60)["at"].to_pylist() if at <= end], what


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_catalog_that_is_gone_after_a_commit_was_sent(tmp_path: Path, moment: str) -> None:
    with wire("rest", tmp_path) as reached, FeatureStore(settings=reached.settings(tmp_path / "home")) as store:
        assert isinstance(reached, Rest)
        life.begin(store)
        store.apply(life.declare())
        # The first commit is that of the run's lease.
        gone = Gone(Failure(504, moment), skip=1)
        reached.server.fault = gone
        with pytest.raises(FeatureStoreError, match=r"landed is not known.*nothing was deleted. Run the same again"):
            store.materialize("last", end="2026-01-05")
        reached.server.fault = Fault()
        landed = store.catalog.load_table("features.last_v1").current_snapshot() is not None
        assert landed == (moment == "after")
        # It could not be given back, and this process lives.
        lose_lease(store, "features.last_v1")
        run = store.materialize("last", end="2026-01-05")[0]
        assert (run.rows_appended == 0) == landed
        assert len(store.catalog.load_table("features.last_v1").scan().to_arrow()) == 33


class Gone(Fault):
    """Nothing is answered from a commit on, of which the first `skip` pass."""

    def strikes(self, kind: str) -> Failure | None:
        if kind == "commit":
            self.seen += 1
        return self.failure if self.seen > self.skip else None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "rest"])
def test_a_snapshot_pinned_while_it_expires_is_kept(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else None
    with wire(kind, tmp_path, address) as reached:
        settings = reached.settings(tmp_path / "home")
        with FeatureStore(settings=settings) as store, FeatureStore(settings=settings) as other:
            life.begin(store)
            store.apply(life.declare())
            for day in ("2026-01-03", "2026-01-05", "2026-01-07"):
                store.materialize("last", end=day)
            old = tables.load(store.catalog, "features.last_v1").snapshot_ids[0]
            with meanwhile(store, lambda: tags.set_tag(tables.load(other.catalog, "features.last_v1"), "training-set-x", old)) as happened:
                store.maintain(older_than=timedelta(0))
            assert happened
            table = tables.load(store.catalog, "features.last_v1")
            assert tags.tags(table) == {"training-set-x": old}
            assert table.iceberg.scan(snapshot_id=old).to_arrow().num_rows
            assert not any(name.startswith(FENCE) for name in table.iceberg.refs()), "no fence stays up"
            assert len(table.snapshot_ids) == 2, "the one that nobody wants is gone"


@pytest.mark.slow
def test_a_tag_that_is_let_go_while_another_build_takes_it(tmp_path: Path) -> None:
    with wire("rest", tmp_path) as reached, FeatureStore(settings=reached.settings(tmp_path / "home")) as store:
        life.begin(store)
        store.apply(life.declare())
        store.materialize("last", end="2026-01-03")
        table = tables.load(store.catalog, "features.last_v1")
        snapshot = table.snapshot_id
        assert snapshot is not None
        tags.set_tag(table, "t", snapshot, "first")
        mine = tables.load(store.catalog, "features.last_v1")
        with (
            meanwhile(store, lambda: tags.set_tag(tables.load(store.catalog, "features.last_v1"), "t", snapshot, "second")) as happened,
            pytest.raises(CommitConflict, match="another build now uses a tag"),
        ):
            tags.settle_tags(mine, (), ["t"])
        assert happened
        assert tags.tags(tables.load(store.catalog, "features.last_v1")) == {"t": snapshot}
