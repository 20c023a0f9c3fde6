"""Clients choose request ids: of requests that differ, none is replayed in place of another, and of those that are the same the newest."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports it
from featurestore import FeatureStore, models
from featurestore.errors import Conflict, NotFound, RequestError
from featurestore.lakehouse import tables, writes
from featurestore.models import LoadedModels
from featurestore.models.prediction_log.log import PredictionLog, spool_path
from tests.cli.running import as_json, run
from tests.models.worlds import UNKNOWN, World

pytestmark = VENDOR_WARNINGS

RECORD: dict[str, Any] = {"customer_id": 3, "basket": 10.0, "asked_at": "2026-03-25T00:00:00Z"}
OTHER = {**RECORD, "basket": 99.0}


class Reuse:
    """A log to which tests send requests, and the store that replays them."""

    def __init__(self, store: FeatureStore) -> None:
        self.store, self.log, self.loaded = store, PredictionLog(store), LoadedModels(store)

    def send(self, request_id: str, *records: dict[str, Any], model: str = "reused", version: int = 1, **options: Any) -> None:
        """Log the predictions for these records."""
        finished = self.loaded.get(model, version=str(version)).finish(list(records))
        self.log.record(finished, request_id, **options)

    def rows(self, request_id: str, model: str = "reused") -> list[dict[str, Any]]:
        """The logged rows of a request id, by their time; they are flushed."""
        self.log._look(last=True)
        rows: list[dict[str, Any]] = self.store.catalog.load_table(f"inference.{model}").scan().to_arrow().to_pylist()
        return sorted((row for row in rows if row["request_id"] == request_id), key=lambda row: (row["predicted_at"], row["row_number"]))

    def append(self, row: dict[str, Any], **changes: Any) -> None:
        """Log a changed copy of a row a second later."""
        table = tables.load(self.store.catalog, "inference.reused")
        later = {**row, "predicted_at": row["predicted_at"] + timedelta(seconds=1), **changes}
        writes.append_retrying(table, pa.Table.from_pylist([later], tables.arrow_schema(table)).to_reader())


@pytest.fixture(scope="module")
def reuse(world: World) -> Iterator[Reuse]:
    for name in ("reused", "reused", "beside"):
        models.log_model(world.model, training_set=world.training_set, registered_model_name=name)
    settings = world.store.settings.model_copy(update={"prediction_log": "full"})
    with FeatureStore(settings=settings) as store:
        yield Reuse(store)
    for path in spool_path(settings).parent.glob("*"):
        path.unlink()


def test_of_a_request_that_is_sent_again_the_newest_is_replayed(reuse: Reuse) -> None:
    for _ in range(2):
        reuse.send("again", RECORD, {**RECORD, "customer_id": UNKNOWN, "age": 50})
    replayed = reuse.store.replay("again", 1)
    first, _, second, _ = reuse.rows("again")
    assert (replayed.equal, replayed.rows, replayed.predicted_at) == (True, 2, second["predicted_at"])
    assert reuse.store.replay("again", at=first["predicted_at"]).predicted_at == first["predicted_at"]
    # A feature that was looked up may have changed since.
    reuse.send("looked up", RECORD)
    (row,) = reuse.rows("looked up")
    reuse.append(row, age=row["age"] + 1)
    assert not reuse.store.replay("looked up").equal
    assert reuse.store.replay("looked up", at=row["as_of"]).rows == 1


def test_requests_that_differ_are_listed_and_chosen_by_time(reuse: Reuse) -> None:
    reuse.send("forged", RECORD, RECORD)
    before = reuse.store.replay("forged")
    assert before.rows == 2
    # It waits in the spool.
    reuse.send("forged", OTHER)
    with pytest.raises(
        Conflict, match=r"2 different requests have the id forged: reused 1 at \S+Z \(1 row\), reused 1 at \S+Z \(2 rows\)"
    ) as refusal:
        reuse.store.replay("forged")
    newest, oldest = refusal.value.details["requests"]
    assert (newest["model"], newest["rows"], oldest["rows"]) == ("reused", 1, 2)
    assert f"featurestore replay forged --model reused --at {newest['at']}" in refusal.value.message
    forged, honest = (reuse.store.replay("forged", model="reused", at=item["at"]) for item in (newest, oldest))
    assert (forged.rows, forged.keys["basket"], forged.equal) == (1, 99.0, True)
    assert (honest.rows, honest.keys["basket"], honest.equal) == (2, 10.0, True)
    assert honest.predicted_at == before.predicted_at
    with pytest.raises(NotFound, match=r"no row '1' in the prediction forged; known: '0'"):
        reuse.store.replay("forged", 1, at=newest["at"])
    for row in reuse.rows("forged"):
        assert reuse.store.replay("forged", at=row["as_of"]).predicted_at == row["predicted_at"]
    with pytest.raises(NotFound, match=r"the log at 2026-01-01T00:00:00.000000Z; those with this id are reused 1 at .* \(2 rows\)"):
        reuse.store.replay("forged", at="2026-01-01")
    with pytest.raises(RequestError, match="at 'noon' is not a time"):
        reuse.store.replay("forged", at="noon")


@pytest.mark.parametrize(
    "what, records, options",
    [
        ("keys", [{**RECORD, "customer_id": 4}], {}),
        ("a request field", [OTHER], {}),
        ("a feature that was sent", [{**RECORD, "age": 77}], {}),
        ("more rows", [RECORD, RECORD], {}),
        ("other rows", [RECORD], {"rows": [1]}),
        ("a version", [RECORD], {"version": 2}),
        ("a model", [RECORD], {"model": "beside"}),
    ],
)
def test_what_makes_requests_differ(reuse: Reuse, what: str, records: list[dict[str, Any]], options: dict[str, Any]) -> None:
    reuse.send(what, RECORD)
    reuse.send(what, *records, **options)
    with pytest.raises(Conflict, match="2 different requests"):
        reuse.store.replay(what)


def test_parameters_and_sent_values_make_requests_differ(reuse: Reuse) -> None:
    reuse.send("sent", {**RECORD, "age": 77})
    (row,) = reuse.rows("sent")
    reuse.append(row, request_id="sent-a", predicted_at=row["predicted_at"])
    reuse.append(row, request_id="sent-a", age=78)
    reuse.append(row, request_id="sent-b", predicted_at=row["predicted_at"], parameters='{"a": 1, "b": 2}')
    reuse.append(row, request_id="sent-b", parameters='{"a": 1, "b": 3}')
    for request_id in ("sent-a", "sent-b"):
        with pytest.raises(Conflict, match="2 different requests"):
            reuse.store.replay(request_id)
    reuse.append(row, request_id="sent-c", predicted_at=row["predicted_at"], basket=float("nan"), parameters='{"a": 1, "b": 2}')
    reuse.append(row, request_id="sent-c", basket=float("nan"), parameters='{"b": 2, "a": 1}')
    assert reuse.store.replay("sent-c").predicted_at == row["predicted_at"] + timedelta(seconds=1)


def test_requests_to_two_models_are_chosen_by_the_model(reuse: Reuse) -> None:
    reuse.send("traced", RECORD)
    reuse.send("traced", RECORD, model="beside")
    with pytest.raises(Conflict, match=r"beside 1 at \S+Z \(1 row\), reused 1 at \S+Z \(1 row\)"):
        reuse.store.replay("traced")
    for model in ("reused", "beside"):
        replayed = reuse.store.replay("traced", model=model)
        assert (replayed.model, replayed.table, replayed.equal) == (model, f"inference.{model}", True)
    with pytest.raises(NotFound, match="no model 'besides' in the prediction traced; did you mean 'beside'"):
        reuse.store.replay("traced", model="besides")


def test_the_parts_of_a_split_request_are_one(reuse: Reuse) -> None:
    for at in (1_800_000_000_000_000, 1_800_000_000_000_001):
        reuse.send("split", RECORD, arm="champion", rows=[1], predicted_at=at)
        reuse.send("split", RECORD, arm="challenger", rows=[0], version=2, predicted_at=at)
    reuse.send("split", RECORD, RECORD, arm="shadow", shadow=True, version=2)
    replayed = [reuse.store.replay("split", number) for number in (0, 1)]
    assert [(item.version, item.arm, item.rows, item.shadow) for item in replayed] == [
        ("2", "challenger", 2, False),
        ("1", "champion", 2, False),
    ]
    (shadow_at,) = {row["predicted_at"] for row in reuse.rows("split") if row["shadow"]}
    assert reuse.store.replay("split", at=shadow_at).shadow


def test_requests_of_a_deleted_model_are_compared_by_all_values(reuse: Reuse, world: World) -> None:
    info = models.log_model(world.model, training_set=world.training_set, registered_model_name="short_lived")
    for request_id, records in (("same", [RECORD, RECORD]), ("other", [RECORD, OTHER])):
        for record in records:
            reuse.send(request_id, record, model="short_lived")
    reuse.rows("same", "short_lived")
    mlflow.MlflowClient().delete_registered_model("short_lived")
    mlflow.MlflowClient().delete_logged_model(info.model_id)
    assert "cannot be computed again" in reuse.store.replay("same").why[0]
    with pytest.raises(Conflict, match="2 different requests"):
        reuse.store.replay("other")


def test_the_command_lists_and_chooses(reuse: Reuse, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_HOME", str(world.home))
    reuse.send("typed", RECORD)
    reuse.send("typed", OTHER)
    reuse.rows("typed")
    refused = run("replay", "typed")
    assert refused.exit_code == 1
    assert "2 different requests have the id typed" in refused.stderr
    first = reuse.rows("typed")[0]
    chosen = as_json("replay", "typed", "--model", "reused", "--at", first["predicted_at"].isoformat())
    assert (chosen["keys"]["basket"], chosen["equal"]) == (10.0, True)
