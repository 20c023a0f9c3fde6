"""Finished predictions are spooled, and flushed to their table with typed columns, in order and once."""

import json
import math
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from featurestore import FeatureStore, Settings, models
from featurestore.errors import NotReady
from featurestore.lakehouse import tables
from featurestore.models import LoadedModels
from featurestore.models.prediction_log import entry, flush
from featurestore.models.prediction_log.entry import Entry
from featurestore.models.prediction_log.flush import UNTIL
from featurestore.models.prediction_log.log import DROPPED, SPOOLED, PredictionLog, _entry, flush_file, open_spool, spool_path
from featurestore.models.prediction_log.spool import FORMAT, Spool
from featurestore.models.predictions.inference import LoggedModel
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import UNKNOWN, World

pytestmark = VENDOR_WARNINGS

RECORD = {"customer_id": 3, "basket": 10.0, "asked_at": "2026-03-25T00:00:00Z"}


@pytest.fixture(scope="session")
def spooled(world: World) -> str:
    """A registered model whose predictions are logged."""
    models.log_model(world.model, training_set=world.training_set, registered_model_name="spooled", pyfunc_predict_fn="predict_proba")
    return "spooled"


@pytest.fixture
def logging_store(world: World) -> Iterator[FeatureStore]:
    """The world's store, with a full log in a file."""
    settings = world.store.settings.model_copy(update={"prediction_log": "full"})
    with FeatureStore(settings=settings) as store:
        yield store
    for path in spool_path(settings).parent.glob("*"):
        path.unlink()


def rows_of(store: FeatureStore, table: str) -> list[dict[str, Any]]:
    """The rows of a table of predictions in their order."""
    rows: list[dict[str, Any]] = store.catalog.load_table(f"inference.{table}").scan().to_arrow().to_pylist()
    return rows


def test_rows_have_what_the_prediction_was_made_from(logging_store: FeatureStore, spooled: str) -> None:
    model = LoadedModels(logging_store).get(spooled)
    log = PredictionLog(logging_store)
    plain = model.finish([RECORD, {**RECORD, "customer_id": UNKNOWN}])
    log.record(plain, "first", arm="champion")
    sent = model.finish([{**RECORD, "o_spend_30d": 7.5, "basket_vs_spend": 2.0}])
    log.record(sent, "second", arm="challenger", shadow=True, rows=[4])
    flush_file(logging_store)
    known, unknown, third = rows_of(logging_store, spooled)
    assert [(row["request_id"], row["row_number"], row["arm"], row["shadow"]) for row in (known, unknown, third)] == [
        ("first", 0, "champion", False),
        ("first", 1, "champion", False),
        ("second", 4, "challenger", True),
    ]
    assert known["prediction"] == plain.prediction.predictions[0]
    assert (known["model"], known["version"], known["model_id"]) == (spooled, "1", model.logged.model_id)
    assert (known["customer_id"], known["basket"], known["age"]) == (3, 10.0, 23)
    assert known["asked_at"] == datetime(2026, 3, 25, tzinfo=UTC)
    assert json.loads(known["statuses"]) == {"o": "PRESENT", "customer_profile": "PRESENT"}
    assert json.loads(unknown["statuses"])["o"] == "NOT_FOUND"
    assert (unknown["age"], unknown["overridden"]) == (None, [])
    assert json.loads(known["snapshots"]) == {table: str(at) for table, at in plain.prediction.snapshots.items()}
    assert (third["o_spend_30d"], third["overridden"], third["basket_vs_spend"]) == (7.5, ["basket_vs_spend", "o_spend_30d"], 2.0)
    assert known["as_of"] <= known["predicted_at"]
    tags = logging_store.catalog.load_table("features.customer_orders_v1").refs()
    assert f"inference-{plain.prediction.snapshots['customer_orders_v1']}" in tags


def test_two_processes_that_flush_append_once_and_in_order(logging_store: FeatureStore, spooled: str) -> None:
    model = LoadedModels(logging_store).get(spooled)
    log = PredictionLog(logging_store)
    finished = model.finish([RECORD])
    for number in range(60):
        log.record(finished, f"raced-{number}")
    with FeatureStore(settings=logging_store.settings) as other, ThreadPoolExecutor(2) as threads:
        list(threads.map(flush_file, (logging_store, other)))
    request_ids = [row["request_id"] for row in rows_of(logging_store, spooled) if row["request_id"].startswith("raced")]
    assert request_ids == [f"raced-{number}" for number in range(60)]
    assert log.backlog() == []


def test_what_a_killed_flush_has_committed_is_not_appended_again(logging_store: FeatureStore, spooled: str) -> None:
    model = LoadedModels(logging_store).get(spooled)
    log = PredictionLog(logging_store)
    log.record(model.finish([RECORD]), "kept")
    flush_file(logging_store)
    # The row is put back, as if the process had ended before it was removed.
    with sqlite3.connect(spool_path(logging_store.settings)) as connection:
        finished = model.finish([RECORD])
        body = entry.encode(_entry(finished, *log._add_documents(log._open(), finished), "kept", None, False, None, 1))
        note = tables.load(logging_store.catalog, f"inference.{spooled}").properties[UNTIL + log._open().id]
        values = (json.loads(note)["number"], f"inference.{spooled}", body)
        connection.execute("INSERT INTO requests (number, at, destination, rows, body) VALUES (?, 0, ?, 1, ?)", values)
    log.record(model.finish([RECORD]), "next")
    flush_file(logging_store)
    ids = [row["request_id"] for row in rows_of(logging_store, spooled)]
    assert (ids.count("kept"), ids.count("next"), log.backlog()) == (1, 1, [])


def test_a_full_spool_drops_and_says_so(world: World, spooled: str, caplog: pytest.LogCaptureFixture) -> None:
    settings = world.store.settings.model_copy(
        update={"prediction_log": "full", "prediction_spool": "memory", "prediction_spool_limit": "300kB"}
    )
    counted: dict[str, int] = {}
    with FeatureStore(settings=settings) as store:
        log = PredictionLog(store, lambda outcome, rows: counted.__setitem__(outcome, counted.get(outcome, 0) + rows))
        finished = LoadedModels(store).get(spooled).finish([RECORD] * 100)
        for number in range(60):
            log.record(finished, f"full-{number}")
        assert counted[SPOOLED] + counted[DROPPED] == 6000
        assert min(counted.values()) > 500
        assert caplog.text.count("predictions are not logged: database or disk is full") == 1
        # Space is used again.
        flush.flush(store.backend.runtime, log._open())
        log.record(finished, "after")
        assert [one.rows for one in log.backlog()] == [100]


def test_a_request_is_sampled_by_its_id_everywhere(world: World) -> None:
    def sampled(fraction: object) -> set[str]:
        fraction = Settings(prediction_log=fraction).prediction_log
        with FeatureStore(settings=world.store.settings.model_copy(update={"prediction_log": fraction})) as store:
            log = PredictionLog(store)
            return {id for id in ids if log.is_sampled(id)}

    ids = {f"request-{number}" for number in range(2000)}
    assert (sampled("off"), sampled("full"), sampled(1.0), sampled(0)) == (set(), ids, ids, set())
    assert 120 < len(sampled(0.1)) < 280
    assert sampled(0.1) < sampled("0.5") < ids
    for wrong in ("most", 1.1, -0.1, True, "nan"):
        with pytest.raises(ValidationError, match="off, full, or a fraction"):
            Settings(prediction_log=wrong)


def test_values_of_every_type_come_back() -> None:
    columns = {
        "BIGINT": 2**62,
        "DOUBLE": float("nan"),
        "FLOAT": 1.5,
        "VARCHAR": "zürich",
        "BOOLEAN": True,
        "DATE": date(1970, 2, 3),
        "DECIMAL(20,2)": Decimal("123456789012345678.90"),
        "TIMESTAMP WITH TIME ZONE": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        "BLOB": b"\x00\xff",
        "BIGINT[]": [1, None, 3],
        "DATE[]": [date(2026, 1, 1), None],
    }
    model = LoggedModel("all", "1", None, None, "ts", tuple((f"c{number}", sql_type) for number, sql_type in enumerate(columns)))
    made = Entry(
        0, 0, "id", None, False, 1, 2, None, None, None, None, {}, {}, [[value, None] for value in columns.values()], [{"a": 1}, None]
    )
    rows = entry.to_rows(model, "{}", [entry.decode(entry.encode(made))])
    for (name, column), value in zip(list(rows.values.items())[:-1], columns.values(), strict=True):
        assert column.to_pylist() == [value, None] or value != value, name
    assert math.isnan(rows.values["c1"][0].as_py())
    assert rows.values["prediction"].to_pylist() == ['{"a": 1}', None]


def test_a_value_that_cannot_be_stored_keeps_no_other(logging_store: FeatureStore, caplog: pytest.LogCaptureFixture) -> None:
    waiting = open_spool(logging_store.settings)
    odd = LoggedModel("odd", "1", None, None, "ts", (("k", "BIGINT"),))
    layout = waiting.layout(msgspec.json.encode(odd).decode())
    pins = waiting.pins("{}")
    values: list[tuple[str, Any]] = [("good", 1), ("bad", ["x", 1]), ("better", 2)]
    for id, value in values:
        made = Entry(layout, pins, id, None, False, 1, 2, None, None, None, None, {}, {}, [[value]], [0.5])
        waiting.put("inference.odd", 1, 1, entry.encode(made))
    flush_file(logging_store)
    assert [(row["request_id"], row["k"]) for row in rows_of(logging_store, "odd")] == [("good", 1), ("better", 2)]
    assert "the prediction bad of model odd cannot be logged" in caplog.text


def test_a_damaged_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "predictions" / "spool.db"
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    made = Spool(path, 1 << 20)
    made.put("t", 1, 1, b"x")
    assert [(one.table, one.rows) for one in made.backlog()] == [("t", 1)]
    assert "is damaged (file is not a database): it was moved to" in caplog.text
    assert len(list(path.parent.glob("spool.db.damaged-*"))) == 1


def test_only_who_waits_waits_for_another_process(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 1 << 20)
    with closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert not spool.put("t", 1, 1, b"x", wait=False)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            spool.put("t", 1, 1, b"x")
        assert not spool.put("t", 1, 1, b"x", wait=False)
        with ThreadPoolExecutor(1) as thread:
            waiting = thread.submit(spool.put, "t", 1, 2, b"y")
            other.execute("COMMIT")
            assert waiting.result()
    assert spool.put("t", 1, 4, b"z", wait=False)
    assert [backlog.rows for backlog in spool.backlog()] == [6]
    spool.close()


def test_the_file_has_a_format(tmp_path: Path) -> None:
    """A file of a newer release is refused and not changed; one from before the format was recorded is read."""
    path = tmp_path / "predictions" / "spool.db"
    spool = Spool(path, 1 << 20)
    spool.put("t", 1, 1, b"x")
    spool.close()
    set_format(path, FORMAT + 1)
    before = path.read_bytes()
    with pytest.raises(NotReady, match="in format 2, of a newer release of featurestore; this one reads up to 1"):
        Spool(path, 1 << 20)
    assert path.read_bytes() == before
    set_format(path, 0)
    spool = Spool(path, 1 << 20)
    assert [backlog.rows for backlog in spool.backlog()] == [1]
    spool.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (FORMAT,)


def set_format(path: Path, number: int) -> None:
    """Write another format into a spool."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {number}")


def test_a_spool_that_cannot_be_opened_fails_no_prediction(
    world: World, spooled: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "home"
    blocked.mkdir()
    (blocked / "predictions").write_text("not a folder")
    finished = LoadedModels(world.store).get(spooled).finish([RECORD])
    counted = []
    with FeatureStore(settings=world.store.settings.model_copy(update={"prediction_log": "full", "home": blocked})) as store:
        log = PredictionLog(store, lambda outcome, rows: counted.append((outcome, rows)))
        log.record(finished, "one")
        log.record(finished, "two")
    assert counted == [(DROPPED, 1), (DROPPED, 1)]
    assert caplog.text.count("predictions are not logged") == 1
