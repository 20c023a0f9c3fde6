"""Concurrent applies of one view: no apply asks to drop the table of another, and every applied view has its table."""

import threading
from pathlib import Path

import pytest

from featurestore import Entity, FeatureStore, FeatureView, Source, agg
from featurestore.errors import CommitConflict
from tests.faults import life
from tests.faults.wires import wire

WRITERS = 4


def view(days: int) -> FeatureView:
    source, thing = Source("s", table="raw.s", timestamp="at"), Entity("thing", keys="k")
    return FeatureView("counts", entity=thing, source=source, every="1d", features={"n": agg.count(over=f"{days}d")})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize("same", [True, False])
def test_applies_of_one_view(request: pytest.FixtureRequest, tmp_path: Path, kind: str, same: bool) -> None:
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else None
    with wire(kind, tmp_path, address) as reached:
        settings = reached.settings(tmp_path / "home")
        with FeatureStore(settings=settings) as store:
            life.begin(store)
            failures: list[Exception] = []
            barrier = threading.Barrier(WRITERS)

            def apply(days: int) -> None:
                with FeatureStore(settings=settings) as own:
                    own.plan([view(days)])
                    barrier.wait(60)
                    try:
                        own.apply([view(days)])
                    except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
                        failures.append(error)

            threads = [threading.Thread(target=apply, args=(7 if same else 2 + number,)) for number in range(WRITERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failures == []
            versions = 1 if same else WRITERS
            assert store.views()[0]["version"] == versions
            assert sorted(name for _, name in store.catalog.list_tables("features")) == [f"counts_v{n + 1}" for n in range(versions)]
            assert store.materialize(end="2026-01-05")[0].rows_appended


def test_a_plan_that_no_longer_holds_says_who_was_first(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path / "home") as store:
        life.begin(store)
        mine, theirs, alike = store.plan([view(7)]), store.plan([view(3)]), store.plan([view(3)])
        store.apply(theirs)
        with pytest.raises(CommitConflict, match=r"applied by someone else.*view counts v1") as caught:
            store.apply(mine)
        assert "drop" not in caught.value.message
        assert [step.action for step in store.plan([view(3)]).steps if step.action != "unchanged"] == []
        with pytest.raises(CommitConflict):
            store.apply(alike)
