"""Faults while views and tables are removed: a second attempt removes them completely, and they can be created again."""

from pathlib import Path

import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import FeatureStoreError, NotFound
from featurestore.lakehouse import tables
from tests.faults import life
from tests.faults.fault import Failure, Fault
from tests.faults.test_commit_faults import PLACES
from tests.faults.wires import Rest, Sql, wire

TRIES = 20
SPAN = "2026-01-05"
KEYS = [{"k": key} for key in range(4)]


def declare(over: str) -> list[FeatureService]:
    """A view that nothing pins, in a service of its own."""
    source = Source("s", table="raw.s", timestamp="at")
    view = FeatureView("counts", entity=Entity("thing", keys="k"), source=source, every="1d", features={"n": agg.count(over=over)})
    return [FeatureService("alone", features=[view])]


def life_of_a_view() -> list[tuple[str, life.Verb]]:
    """A view that gets a second version, loses the first and then goes."""
    return [
        ("apply", lambda store: store.apply(declare("7d"))),
        ("materialize", lambda store: store.materialize(end=SPAN)),
        ("apply again", lambda store: store.apply(declare("3d"))),
        ("materialize again", lambda store: store.materialize(end=SPAN)),
        ("remove version", lambda store: store.remove_version("counts", 1)),
        ("remove service", lambda store: store.remove_service("alone")),
        ("remove view", lambda store: store.remove_view("counts")),
    ]


STRUCK = (("commit", "drop"), ("create",))
CASES = [(*place, STRUCK[(number + number // 2) % 2]) for number, place in enumerate(PLACES)]
"""Each place with one of them: every two of failure in a catalog, moment, and what is struck come together."""


@pytest.mark.slow
@pytest.mark.parametrize("what,kind,moment,struck", CASES, ids=["-".join((*case[:3], case[3][-1])) for case in CASES])
def test_a_view_that_comes_and_goes_with_a_fault_at_every_change(
    request: pytest.FixtureRequest, tmp_path: Path, undisturbed: object, kind: str, what: str, moment: str, struck: tuple[str, ...]
) -> None:
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else None
    with wire(kind, tmp_path, address) as broken, FeatureStore(settings=broken.settings(tmp_path / "home")) as store:
        life.begin(store)
        strikes = sum(asked_until_done(store, broken, name, verb, Failure(what, moment), struck) for name, verb in life_of_a_view())
        assert strikes >= len(struck) * 2
        assert store.views() == []
        assert tables.list_tables(store.catalog, "features") == []
        left = [path for path in (tmp_path / "home").rglob("*.parquet") if "counts" in str(path)]
        # Where the making of a table broke off, its name's folder has metadata of another table, which may be coming to be.
        assert left == [] or "create" in struck
        store.apply(declare("7d"))
        store.materialize(end=SPAN)
        rows = store.online_features("alone", KEYS).rows
    assert rows == undisturbed


def asked_until_done(store: FeatureStore, broken: Sql | Rest, name: str, verb: life.Verb, failure: Failure, struck: tuple[str, ...]) -> int:
    """Ask for a verb again until nothing strikes it, one change later each time; returns how often it was struck."""
    strikes = 0
    for skip in range(TRIES):
        fault = Fault(failure, kinds=struck, skip=skip)
        problem: BaseException | None = None
        try:
            with broken.broken(store, fault):
                verb(store)
        except (KeyboardInterrupt, FeatureStoreError) as error:
            problem = error
        if isinstance(problem, NotFound):
            # It had come through when it was interrupted, or its answer was lost.
            assert name.startswith("remove"), problem
            return strikes
        if isinstance(problem, FeatureStoreError):
            assert failure.what == "cut", problem
            assert "again" in problem.message
        if not fault.struck:
            assert problem is None
            return strikes
        strikes += fault.struck
    raise AssertionError(f"{name} does not come to its end")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> object:
    """What a new view says where nothing was before it, and nothing broke."""
    with FeatureStore(home=tmp_path_factory.mktemp("whole") / "home") as whole:
        life.begin(whole)
        whole.apply(declare("7d"))
        whole.materialize(end=SPAN)
        rows = whole.online_features("alone", KEYS).rows
    assert any(row != (None,) for row in rows)
    return rows
