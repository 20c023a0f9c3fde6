"""torch reads every row exactly once per epoch with any number of workers, and resumes where it stopped."""

import json
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

torch = pytest.importorskip("torch", reason="could not import 'torch': pip install torch==2.13.0")

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, connect  # noqa: E402
from featurestore.errors import NotFound, RequestError  # noqa: E402
from tests import shop  # noqa: E402
from tests.s3 import connection, server  # noqa: E402
from tests.worlds import STAMP, load_source  # noqa: E402

T = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = 5000

CLEAN = multiprocessing.get_context("forkserver")
"""Workers as clean as spawned ones, that find torch imported."""
CLEAN.set_forkserver_preload(["torch.utils.data", "featurestore.pipelines.training_sets.torch_rows"])

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


def loader(data: Any, workers: int, **options: Any) -> Any:
    return torch.utils.data.DataLoader(
        data, batch_size=None, num_workers=workers, multiprocessing_context=CLEAN if workers else None, **options
    )


def numbers(batches: Any) -> list[int]:
    return [number for batch in batches for number in batch["__fs_row"].tolist()]


@pytest.mark.parametrize("world", [1, 3])
def test_every_row_comes_exactly_once(made: Any, world: int) -> None:
    numbers_by_rank = [numbers(loader(made.to_torch(rows=64, buffer=500, rank=rank, world=world), 0)) for rank in range(world)]
    assert all(numbers_by_rank)
    assert sorted(number for rank in numbers_by_rank for number in rank) == list(range(ROWS))


def test_four_workers_of_two_ranks_count_every_row(made: Any) -> None:
    """Workers that are kept over epochs, of which the first is gone on with: they see each epoch, and leave out in none but the first."""
    train = made.split("train")
    every = train.to_arrow(["__fs_row"]).column(0).to_pylist()
    epochs: dict[int, list[list[int]]] = {0: [], 1: [], 2: []}
    for rank in range(2):
        data = train.to_torch(rows=64, buffer=500, seed=5, rank=rank, world=2)
        data.load_state_dict({"epoch": 0, "seed": 5, "rows": 64, "shards": 8, "taken": {str(rank * 4): 1, str(rank * 4 + 3): 2}})
        kept = loader(data, 4, persistent_workers=True)
        for epoch, found in epochs.items():
            if epoch:
                data.set_epoch(epoch)
            found.append(numbers(kept))
    for epoch in (1, 2):
        assert all(epochs[epoch])
        assert sorted(number for rank in epochs[epoch] for number in rank) == every
    assert epochs[1] != epochs[2]
    first = [number for rank in epochs[0] for number in rank]
    assert len(set(first)) == len(first) == len(every) - 2 * 3 * 64
    assert set(first) < set(every)


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
    numbers_by_part = {part: numbers(made.split(part).to_torch(rows=64)) for part in ("train", "test")}
    assert {part: len(rows) for part, rows in numbers_by_part.items()} == made.manifest["split"]["rows"]
    assert sorted([*numbers_by_part["train"], *numbers_by_part["test"]]) == list(range(ROWS))


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


def test_from_s3_and_from_a_server(tmp_path: Path) -> None:
    """From S3 in workers that were forked, too: their parent has spoken to it already."""
    with server() as endpoint:
        settings = {"warehouse": "s3://lake/warehouse", "catalog": connection(endpoint, tmp_path)}
        with shop.open_shop(tmp_path / "home", **settings) as store, shop.serving(store) as url, connect(url) as remote:
            count = 3000
            times = pa.array([shop.days(1)] * count, shop.TIME)
            spine = pa.table({"customer_id": [row % 3 for row in range(count)], "at": times})
            made = store.training_set("plain", spine, "at", split={"a": 0.5, "b": 0.5})
            data = made.to_torch(["orders_7d"], rows=64)
            forked = torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork")
            assert sorted(numbers(data)) == sorted(numbers(forked)) == list(range(count))
            far = remote.get_training_set(made.id)
            for part, rows in made.manifest["split"]["rows"].items():
                fetched = far.split(part).to_torch(["orders_7d", "country"], rows=64, shuffle=False)
                assert numbers(fetched) == made.split(part).to_arrow(["__fs_row"]).column(0).to_pylist()
                assert len(numbers(fetched)) == rows > 0
                assert next(iter(fetched))["orders_7d"].dtype == torch.float64, "one customer is unknown, in one of the parts"
            (file,) = fetched._files
            assert Path(file).exists()
            del fetched
            assert not Path(file).parent.exists()


def test_what_is_wrong_is_named(made: Any) -> None:
    with pytest.raises(NotFound, match="did you mean 'word'"):
        made.to_torch(["wrd"])
    with pytest.raises(RequestError, match="rank=2 is none of 2"):
        made.to_torch(rank=2, world=2)
