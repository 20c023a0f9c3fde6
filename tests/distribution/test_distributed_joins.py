"""Joins on workers give the training sets of one machine, with the same digests."""

from pathlib import Path

import pytest

from tests.distribution import workers_world as world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a history, and training sets that were built on one machine."""
    folder = tmp_path_factory.mktemp("joined")
    with world.opened(folder) as store:
        world.fill(store)
        world.live(store)
        world.build_sets(store)
    return folder


def test_training_sets_are_rebuilt_with_the_same_digests(engine: str, home: Path) -> None:
    with world.opened(home, engine, chunk_rows=2000) as store:
        built = store.training_sets()
        assert len(built) == 4
        for training_set in built:
            store.rebuild(training_set.id)
