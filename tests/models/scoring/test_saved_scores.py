"""Saved predictions: scored in parts, written in one snapshot, once for a run id, and the same rows as scoring in memory."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel  # isort: skip - before anything else imports it
from featurestore import models
from featurestore.errors import ModelError, NotFound, RequestError
from featurestore.lakehouse import tables
from featurestore.models.scoring import saved_scores
from tests.cli.running import as_json, run
from tests.models import worlds
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS

OF_CALL = ["request_id", "predicted_at", "as_of"]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts for few rows, in two streams where the model may be asked by two threads."""
    monkeypatch.setattr(saved_scores, "MANY", 0)
    monkeypatch.setattr(saved_scores, "ROWS", 70)
    monkeypatch.setattr(saved_scores, "ONLINE_ROWS", 70)


@pytest.fixture(scope="session")
def saved(world: World) -> Any:
    """A model of its own, whose rows are those of these tests."""
    return models.log_model(world.model, training_set=world.training_set, name="saved", registered_model_name="saved")


def written(world: World, model: str) -> pa.Table:
    """The rows of a model's table in the order of their numbers."""
    return world.store.catalog.load_table(f"inference.{model}").scan().to_arrow()


def snapshots(world: World, model: str) -> int:
    return len(world.store.catalog.load_table(f"inference.{model}").snapshots())


@pytest.mark.parametrize("at", [None, "training", "2026-03-20", "online", "batch"])
def test_the_rows_are_those_of_scoring_in_memory(world: World, at: Any) -> None:
    name = f"saved_{str(at).replace('-', '')}"
    models.log_model(world.model, training_set=world.training_set, name=name, registered_model_name=name)
    overridden = [None if row % 3 else float(row) for row in range(300)]
    spine = worlds.spine().append_column("o_mean", pa.array(overridden, pa.float64()))
    expected = models.score(f"models:/{name}/1", spine, at, log="memory", store=world.store)
    seen: list[int] = []
    done = models.score(
        f"models:/{name}/1", spine, at, save=True, run_id="r", store=world.store, progress=lambda now: seen.append(now.rows)
    )
    assert (done.rows, done.table, done.version, seen[-1]) == (300, f"inference.{name}", "1", 300)
    assert len(seen) == 5
    assert snapshots(world, name) == 2, "one for each call"
    table = world.store.catalog.load_table(f"inference.{name}")
    assert table.inspect.files().num_rows == (2 if at == "online" else 3), "joined rows are written to two files at the same time"
    rows = written(world, name).sort_by("row_number")
    saved, logged = (rows.filter(pc.is_in(rows["request_id"], ids)) for ids in split_ids(rows))
    assert saved.drop_columns(OF_CALL).equals(logged.drop_columns(OF_CALL))
    assert saved["prediction"].to_pylist() == expected["prediction"].to_pylist()
    assert saved["o_mean"].to_pylist() == expected["o_mean"].to_pylist()
    again = models.score(f"models:/{name}/1", spine, at, save=True, run_id="r", store=world.store)
    assert (again.rows, again.snapshot_id) == (0, None)
    assert written(world, name).num_rows == 600


def split_ids(rows: pa.Table) -> Iterator[pa.Array]:
    """The request ids of each of two calls, those of the snapshot with the later rows first."""
    first = pc.split_pattern(rows["request_id"], "-").to_pylist()
    prefixes = list(dict.fromkeys(parts[0] for parts in first))
    assert len(prefixes) == 2
    for prefix in prefixes:
        yield pc.filter(rows["request_id"], pc.starts_with(rows["request_id"], prefix)).combine_chunks()


def test_a_saved_prediction_is_replayed(world: World, saved: Any) -> None:
    # A request field that is declared as double, as integers.
    spine = worlds.spine(rows=90)
    whole = spine.set_column(1, "basket", spine["basket"].cast(pa.int64()))
    models.score("models:/saved/1", whole, save=True, run_id="replayed", store=world.store)
    rows = written(world, "saved").sort_by("request_id")
    assert world.store.replay(rows["request_id"][80].as_py()).equal


def test_a_run_is_known_when_its_snapshot_has_expired(world: World, saved: Any) -> None:
    spine = worlds.spine(rows=5)
    models.score("models:/saved/1", spine, save=True, run_id="old", store=world.store)
    models.score("models:/saved/1", spine, save=True, run_id="new", store=world.store)
    before = written(world, "saved").num_rows
    world.store.maintain(older_than=timedelta(0))
    assert snapshots(world, "saved") == 1
    assert models.score("models:/saved/1", spine, save=True, run_id="old", store=world.store).rows == 0
    assert models.score("models:/saved/1", spine, log="old", store=world.store).num_rows == 5
    assert written(world, "saved").num_rows == before


def test_a_repeated_run_says_who_wrote_it(world: World) -> None:
    for _ in range(2):
        models.log_model(world.model, training_set=world.training_set, name="wrote", registered_model_name="wrote")
    spine = worlds.spine(rows=5)

    def score(version: int, run_id: str, **options: Any) -> Any:
        return models.score(f"models:/wrote/{version}", spine, save=True, run_id=run_id, store=world.store, **options)

    assert score(1, "r1").version == "1"
    again = score(2, "r1")
    assert (again.model, again.version, again.rows, again.repeated) == ("wrote", "1", 0, True)

    # Another process writes the run while this one scores.
    first: list[Any] = []

    def overtake(progress: Any) -> None:
        if not first:
            first.append(score(1, "raced"))

    late = score(2, "raced", progress=overtake)
    assert first[0].rows == 5
    assert (late.model, late.version, late.rows, late.repeated) == ("wrote", "1", 0, True)

    world.store.catalog.load_table("inference.wrote").delete("version = '1'")
    gone = score(2, "r1")
    assert (gone.model, gone.version, gone.rows, gone.repeated) == (None, None, 0, True)


class Moody(PythonModel):  # type: ignore[misc]
    """Raises, or answers with another type, from the second part on."""

    def __init__(self, mood: str) -> None:
        self._mood, self._calls = mood, 0

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        self._calls += 1
        if self._calls == 1:
            return [1] * len(model_input)
        if self._mood == "raises":
            raise ValueError("no more")
        return [1.5 if self._mood == "doubles" else "one"] * len(model_input)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("mood, said", [("raises", "the model raised"), ("doubles", "from row 70 on"), ("texts", "from row 70 on")])
def test_nothing_is_written_by_a_run_that_fails(world: World, mood: str, said: str) -> None:
    name = f"moody_{mood}"
    models.log_model(Moody(mood), training_set=world.training_set, name=name, registered_model_name=name)
    with pytest.raises(ModelError, match=said):
        models.score(f"models:/{name}/1", worlds.spine(rows=100), save=True, run_id="r", store=world.store)
    assert tables.load(world.store.catalog, f"inference.{name}").snapshot_id is None


def test_no_rows_are_no_snapshot(world: World, saved: Any) -> None:
    before = snapshots(world, "saved") if world.store.catalog.table_exists("inference.saved") else 0
    done = models.score("models:/saved/1", worlds.spine().slice(0, 0), save=True, run_id="empty", store=world.store)
    assert (done.rows, done.snapshot_id, done.run_id) == (0, None, "empty")
    assert snapshots(world, "saved") == before


def test_what_is_wrong_is_named(world: World, saved: Any) -> None:
    spine = worlds.spine(rows=100)

    def refused(rows: Any = spine, **arguments: Any) -> str:
        with pytest.raises((RequestError, NotFound)) as refusal:
            models.score("models:/saved/1", rows, store=world.store, **arguments)
        return str(refusal.value)

    assert "save=True too" in refused(run_id="r")
    assert "not both" in refused(save=True, log=True)
    assert "save='yes'" in refused(save="yes")
    assert "run_id" in refused(save=True, run_id="")
    assert "'prediction'" in refused(spine.append_column("prediction", pa.nulls(100)), save=True)
    assert "no key column 'customer_id'" in refused(spine.drop_columns(["customer_id"]), save=True)
    assert "no column 'basket'" in refused(spine.drop_columns(["basket"]), save=True, at="online")
    assert "row 9 of the spine: " in refused(save=True, missing="error", at="training")
    late = pa.concat_tables([spine.filter(pc.not_equal(spine["customer_id"], worlds.UNKNOWN)), spine.slice(9, 1)])
    assert f"row {late.num_rows - 1} of the spine: " in refused(late, save=True, missing="error", at="2026-03-31")
    many = spine.append_column("o_mean", pa.array([None] * 90 + ["many"] * 10))
    for at in (None, "online"):
        assert "row 90 of the spine, column 'o_mean': 'many' is str" in refused(many, save=True, at=at)
        assert "row 90 of the spine, column 'o_mean': 'many' is str" in refused(many, at=at)
    assert "at, unless" in refused(save=True, at="yesterday")


def test_the_command_says_what_was_written(world: World, saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_HOME", str(world.home))
    pq.write_table(worlds.spine(rows=20), "asked.parquet")
    command = ("score", "models:/saved/1", "--spine", "asked.parquet", "--save", "--run-id", "by command")
    done = as_json(*command)
    assert (done["rows"], done["run_id"]) == (20, "by command")
    assert int(done["snapshot_id"]) == tables.load(world.store.catalog, "inference.saved").snapshot_id
    assert "run by command was written before by saved 1; to write" in run(*command).stdout
    for more in (["--out", "x.parquet"], ["--url", "http://localhost:1"]):
        assert run(*command, *more).exit_code == 2
    assert run(*command[:4], "--run-id", "x").exit_code == 2
