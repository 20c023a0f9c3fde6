"""Faults at the commits of every method: the same history leads to the same store."""

from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore
from featurestore.errors import NotFound
from featurestore.lakehouse import compaction
from tests.faults import life
from tests.faults.fault import Failure, Fault
from tests.faults.wires import Rest, Sql, wire

TRIES = 25


def lead(store: FeatureStore, broken: Sql | Rest | None = None, failure: Failure | None = None) -> int:
    """A whole life, in which each commit fails once; returns how many did."""
    with pytest.MonkeyPatch.context() as patch:
        # So few files are compacted that a life need not be long.
        patch.setattr(compaction, "MIN_SMALL_FILES", 2)
        return _raise_if_led(store, broken, failure)


def _raise_if_led(store: FeatureStore, broken: Sql | Rest | None, failure: Failure | None) -> int:
    life.begin(store)
    struck = 0
    for name, verb in life.verbs():
        if broken is None or failure is None or name in life.UNDISTURBED:
            verb(store)
        elif failure.what == "interrupt":
            struck += interrupt_until_done(store, broken, failure, verb)
        else:
            # Each is sent twice: what was cut off at first, and what is sent again.
            fault = Fault(failure, times=1000, every=2)
            with broken.broken(store, fault):
                verb(store)
            struck += fault.struck
    return struck


def interrupt_until_done(store: FeatureStore, broken: Sql | Rest, failure: Failure, verb: life.Verb) -> int:
    """Ask for a verb until it comes through, and interrupt it one commit later each time; returns how often it was."""
    for skip in range(TRIES):
        try:
            with broken.broken(store, Fault(failure, skip=skip)):
                verb(store)
        except KeyboardInterrupt:
            continue
        except NotFound:
            # A removal that had come through when it was interrupted.
            assert skip
        return skip
    raise AssertionError("it does not come to its end")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with FeatureStore(home=tmp_path_factory.mktemp("whole") / "home") as store:
        lead(store)
        return life.read_outcome(store)


PLACES = [
    ("cut", "sqlite", "inside"),
    ("cut", "sqlite", "after"),
    ("cut", "postgres", "inside"),
    ("cut", "postgres", "after"),
    ("cut", "rest", "before"),
    ("cut", "rest", "after"),
    # An interrupt comes from the same place in SQLAlchemy, whatever the database.
    ("interrupt", "sqlite", "inside"),
    ("interrupt", "sqlite", "after"),
    ("interrupt", "rest", "before"),
    ("interrupt", "rest", "after"),
]
"""What fails, in which catalog, and when. "inside" is before the COMMIT of a database; over REST a commit is one request."""


@pytest.mark.slow
@pytest.mark.parametrize("what,kind,moment", PLACES)
def test_a_life_with_a_fault_at_every_commit(
    request: pytest.FixtureRequest, tmp_path: Path, undisturbed: dict[str, Any], kind: str, what: str, moment: str
) -> None:
    address = request.getfixturevalue("postgres_address") if kind == "postgres" else None
    with wire(kind, tmp_path, address) as broken, FeatureStore(settings=broken.settings(tmp_path / "home")) as store:
        struck = lead(store, broken, Failure(what, moment))
        outcome = life.read_outcome(store)
    assert struck > 10
    if what == "interrupt":
        # An append to a log that is interrupted and repeated lands once per call, so its rows are in the log twice.
        outcome["models"] = undisturbed["models"]
    assert outcome == undisturbed
