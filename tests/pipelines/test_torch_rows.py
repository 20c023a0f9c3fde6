"""torch reads every row exactly once an epoch, whoever shares the work, and goes on where it stopped."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

torch = pytest.importorskip("torch")

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source  # noqa: E402
from featurestore.errors import NotFound, RequestError  # noqa: E402
from tests.worlds import STAMP, load_source  # noqa: E402

T = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 5000

# torch warns of its own code when it starts processes.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = FeatureStore(home=tmp_path_factory.mktemp("home"))
    ids = pa.array(range(100), pa.int64())
    rows = {"id": ids, "at": pa.array([T] * 100, STAMP), "x": [key / 2 for key in range(100)], "n": ids, "word": ["a"] * 100}
    load_source(store, "shop.people", pa.table(rows))
    source = Source("s", table="shop.people", timestamp="at")
    view = FeatureView("people", entity=Entity("person", keys="id"), source=source, features=["x", "n", "word"])
    store.apply([FeatureService("people", features=[view])])
    store.materialize()
    keys = pa.array([row % 101 for row in range(ROWS)], pa.int64())
    spine = pa.table({"id": keys, "t": pa.array([T] * ROWS, STAMP), "y": [row % 3 for row in range(ROWS)]})
    return store.training_set("people", spine, "t", label="y", split={"train": 0.8, "test": 0.2})


def loader(data: Any, workers: int) -> Any:
    return torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers, multiprocessing_context="spawn" if workers else None)


def numbers(batches: Any) -> list[int]:
    return [number for batch in batches for number in batch["__fs_row"].tolist()]


@pytest.mark.parametrize("world,workers", [(1, 0), (3, 0), (2, 2)])
def test_every_row_comes_exactly_once(made: Any, world: int, workers: int) -> None:
    found = [numbers(loader(made.to_torch(rows=64, buffer=500, rank=rank, world=world), workers)) for rank in range(world)]
    assert all(found)
    assert sorted(number for rank in found for number in rank) == list(range(ROWS))


def test_values_are_those_of_the_rows(made: Any) -> None:
    rows = made.to_arrow().to_pylist()
    for batch in made.to_torch(["x", "n", "word", "y", "id", "t"], rows=100):
        assert (batch["x"].dtype, batch["n"].dtype, batch["y"].dtype) == (torch.float64, torch.float64, torch.int64)
        for place, number in enumerate(batch["__fs_row"].tolist()):
            row = rows[number]
            assert batch["y"][place] == row["y"]
            assert batch["word"][place] == row["word"]
            assert torch.isnan(batch["n"][place]) if row["n"] is None else batch["n"][place] == row["n"]
            assert batch["t"][place] == T.timestamp() * 1e6


def test_seed_and_epoch_decide_the_order(made: Any) -> None:
    data = made.to_torch(rows=64, seed=7)
    first = numbers(data)
    data.set_epoch(1)
    second = numbers(data)
    assert first != second
    assert sorted(first) == sorted(second)
    assert numbers(made.to_torch(rows=64, seed=7)) == first
    assert numbers(made.to_torch(rows=64, seed=8)) != first
    assert numbers(made.to_torch(shuffle=False)) == list(range(ROWS))


def test_a_part_alone(made: Any) -> None:
    found = {part: numbers(made.split(part).to_torch(rows=64)) for part in ("train", "test")}
    assert {part: len(rows) for part, rows in found.items()} == made.manifest["split"]["rows"]
    assert sorted([*found["train"], *found["test"]]) == list(range(ROWS))


@pytest.mark.parametrize("workers", [0, 2])
def test_it_goes_on_where_it_stopped(made: Any, workers: int) -> None:
    data = made.to_torch(rows=64, buffer=500, seed=3)
    data.set_epoch(2)
    before = []
    for batch in loader(data, workers):
        before += batch["__fs_row"].tolist()
        data.taken(batch)
        if len(before) >= ROWS // 2:
            break
    state = json.loads(json.dumps(data.state_dict()))
    again = made.to_torch(rows=64, buffer=500, seed=3)
    again.load_state_dict(state)
    assert sorted([*before, *numbers(loader(again, workers))]) == list(range(ROWS))
    with pytest.raises(RequestError, match="seed=3, this reader has seed=4"):
        made.to_torch(rows=64, seed=4).load_state_dict(state)


def test_what_is_wrong_is_named(made: Any) -> None:
    with pytest.raises(NotFound, match="did you mean 'word'"):
        made.to_torch(["wrd"])
    with pytest.raises(RequestError, match="rank=2 is none of 2"):
        made.to_torch(rank=2, world=2)
