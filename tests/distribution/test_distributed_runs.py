"""Runs on workers give the rows of a run on one machine, bit by bit."""

from pathlib import Path

import pytest

from tests.distribution import workers_world as world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The feature tables that one machine makes of the history."""
    with world.opened(tmp_path_factory.mktemp("local")) as store:
        world.fill(store)
        world.live(store)
        return world.stored(store)


def test_a_history_leaves_the_same_rows(engine: str, expected: dict[str, list[str]], tmp_path: Path) -> None:
    with world.opened(tmp_path, engine, chunk_rows=600) as store:
        world.fill(store)
        world.live(store)
        found = world.stored(store)
    for view in world.VIEWS:
        assert found[view] == expected[view], view
