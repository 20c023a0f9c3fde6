"""Batch scoring: every row of the spine, in order, with the features the model read."""

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Csv, models
from featurestore.errors import NotFound, RequestError, TypeMismatch
from featurestore.lakehouse import tables, writes
from tests.faults.fault import Failure, Fault
from tests.faults.wires import MOMENTS, Sql
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import UNKNOWN, World, keys

pytestmark = VENDOR_WARNINGS


def test_at_training_the_rows_are_those_of_the_training_set(world: World, logged: Any) -> None:
    scored = models.score(logged.model_uri, worlds.spine(label=False), at="training")
    stored = world.training_set.to_arrow()
    features = [name for name in world.inputs if name != "basket"]
    assert scored.schema.names == ["customer_id", "basket", "asked_at", "t", *features, "prediction"]
    assert all(scored.column(name).to_pylist() == stored.column(name).to_pylist() for name in features)
    rows = stored.to_pandas()[world.inputs].astype("float64")
    assert scored.column("prediction").to_pylist() == world.model.predict(rows).tolist()


def test_without_at_features_are_as_of_each_row(world: World, logged: Any) -> None:
    scored = models.score(logged.model_uri, worlds.spine(label=False))
    assert scored.equals(models.score(logged.model_uri, worlds.spine(label=False), at="training"))


@pytest.mark.parametrize("at", [worlds.START + timedelta(days=40), "2026-02-10T00:00:00Z"])
def test_at_a_time_the_spine_needs_none(world: World, logged: Any, at: datetime | str) -> None:
    scored = models.score(logged.model_uri, keys(3, 4, UNKNOWN), at=at)
    expected = world.store.point_in_time(world.training_set.plan, keys(3, 4, UNKNOWN).assign(t=worlds.START + timedelta(days=40)), "t")
    assert list(scored["o_spend_30d"].dropna()) == [value for value in expected.column("o_spend_30d").to_pylist() if value is not None]
    assert "as_of" not in scored


def test_online_and_as_of_now_agree(logged: Any) -> None:
    sent = pa.Table.from_pandas(keys(*range(worlds.CUSTOMERS), UNKNOWN))
    online = models.score(logged.model_uri, sent, at="online")
    assert online.equals(models.score(logged.model_uri, sent, at=worlds.END))
    assert online.num_rows == worlds.CUSTOMERS + 1


@pytest.mark.slow
def test_a_frame_comes_back_as_it_came(logged: Any, tmp_path: Any) -> None:
    spine = worlds.spine(10, label=False)
    pq.write_table(spine, tmp_path / "spine.parquet")
    expected = models.score(logged.model_uri, spine)
    forms: list[tuple[Any, Any]] = [
        (spine.to_pandas(), pd.DataFrame),
        (pl.from_arrow(spine), pl.DataFrame),
        (str(tmp_path / "*.parquet"), pa.Table),
    ]
    for given, kind in forms:
        scored = models.score(logged.model_uri, given)
        assert isinstance(scored, kind)
        assert list(scored["prediction"].to_pylist() if kind is pa.Table else scored["prediction"]) == expected["prediction"].to_pylist()
    in_sql = models.score(logged.model_uri, "SELECT customer_id, 1.5 AS basket, ordered_at AS t, ordered_at AS asked_at FROM shop.orders")
    assert in_sql.num_rows == 600


def test_no_row_is_dropped_whatever_its_key(logged: Any) -> None:
    spine = pa.table(
        {"customer_id": pa.array([3, None, 3, UNKNOWN], pa.int64()), "basket": [1.0] * 4, "asked_at": [worlds.END] * 4, "id": [9, 8, 7, 6]}
    )
    for at in ("online", worlds.END):
        scored = models.score(logged.model_uri, spine, at=at)
        assert scored.column("id").to_pylist() == [9, 8, 7, 6]
        assert [value is None for value in scored.column("age").to_pylist()] == [False, True, False, True]
        assert scored.column("prediction").null_count == 0


def test_features_in_the_spine_go_before(logged: Any) -> None:
    sent = keys(3, 4).assign(age=[float("nan"), 90.0], t=worlds.END)
    for at in ("online", None):
        assert models.score(logged.model_uri, sent, at=at)["age"].tolist() == [23, 90]


def test_features_at_a_tag(logged: Any, world: World) -> None:
    at_training = models.score(logged.model_uri, worlds.spine(label=False), at="training")
    world.store.tag("scored")
    try:
        assert models.score(logged.model_uri, worlds.spine(label=False), at="@scored").equals(at_training)
        with pytest.raises(NotFound, match="no tag 'scord'; did you mean 'scored'"):
            models.score(logged.model_uri, worlds.spine(label=False), at="@scord")
    finally:
        world.store.remove_tag("scored")


def test_no_rows_are_no_predictions(logged: Any) -> None:
    for at in ("online", None):
        scored = models.score(logged.model_uri, worlds.spine(10, label=False).slice(0, 0), at=at)
        assert (scored.num_rows, scored.schema.names[-1]) == (0, "prediction")


def test_what_is_wrong_is_named(logged: Any) -> None:
    for problem, change in (
        ("no column 'customer_id'", {"drop": ["customer_id"]}),
        ("a column 'prediction'", {"add": "prediction"}),
    ):
        sent = keys(3).drop(columns=change.get("drop", []))
        sent = sent.assign(**{str(change["add"]): 1}) if "add" in change else sent
        with pytest.raises(RequestError, match=problem):
            models.score(logged.model_uri, sent, at="online")
    with pytest.raises(RequestError, match="unless it is 'online', 'training' or 'batch'"):
        models.score(logged.model_uri, keys(3), at="yesterday")
    with pytest.raises(RequestError, match="no features for customer_id=999"):
        models.score(logged.model_uri, keys(UNKNOWN), at="online", missing="error")
    with pytest.raises(NotFound, match=r"did you mean 'models:/churn/\d'"):
        models.score("models:/churm/1", keys(3))
    with pytest.raises(NotFound, match="alias"):
        models.score("models:/churn@nobody", keys(3), log=True)
    with pytest.raises(TypeMismatch, match="o_mean"):
        models.score(logged.model_uri, keys(3).assign(o_mean="many"), at="online")
    with pytest.raises(TypeMismatch, match="basket"):
        models.score(logged.model_uri, keys(3).assign(basket="many"), at="online")


def test_what_was_said_is_logged(world: World, logged: Any) -> None:
    models.score("models:/churn/1", keys(3, UNKNOWN), at="online", log=True)
    models.score("models:/churn/1", keys(4), at=worlds.END, log=True)
    sent = keys(5).assign(age=90)
    models.score("models:/churn/1", sent, at="online", log=True)
    rows = world.store.catalog.load_table("inference.churn").scan().to_arrow().to_pylist()
    assert sorted(row["customer_id"] for row in rows) == [3, 4, 5, 999]
    named = {(row["model"], row["version"], row["model_id"], row["run_id"], row["training_set"]) for row in rows}
    assert named == {("churn", "1", logged.model_id, logged.run_id, world.training_set.id)}
    snapshots = {table: str(snapshot) for table, snapshot in world.training_set.snapshots.items()}
    assert all(json.loads(row["snapshots"]) == snapshots for row in rows)
    first, second, third = (next(row for row in rows if row["customer_id"] == customer) for customer in (3, 4, 5))
    assert (first["age"], third["age"], first["basket"]) == (23, 90, 10.0)
    assert first["asked_at"] == datetime(2026, 3, 25, tzinfo=UTC)
    assert [row["overridden"] for row in (first, second, third)] == [[], [], ["age"]]
    assert (first["as_of"], second["as_of"]) == (first["predicted_at"], worlds.END)
    assert {type(row["prediction"]) for row in rows} == {bool}


def test_no_snapshot_that_a_row_names_expires(world: World, logged: Any) -> None:
    models.score("models:/churn/1", keys(3), at="online", log=True)
    for table, snapshot in world.training_set.snapshots.items():
        assert f"inference-{snapshot}" in world.store.catalog.load_table(f"features.{table}").refs()


def test_a_table_of_an_early_release_gets_typed_columns_beside_its_own(world: World) -> None:
    models.log_model(world.model, training_set=world.training_set, registered_model_name="early")
    names = ("model", "version", "training_set", "entity", "request", "features", "prediction", "snapshots")
    schema = pa.schema([("predicted_at", pa.timestamp("us", tz="UTC")), *((name, pa.string()) for name in names)])
    table = tables.create_if_absent(world.store.catalog, "inference.early", schema, month_of="predicted_at")
    row = {"predicted_at": datetime(2026, 1, 1, tzinfo=UTC), "entity": '{"customer_id":1}', "prediction": "true"}
    writes.append(table, pa.Table.from_pylist([row], schema).to_reader(), summary={})
    models.score("models:/early/1", keys(3), at="online", log=True)
    old, new = sorted(world.store.catalog.load_table("inference.early").scan().to_arrow().to_pylist(), key=lambda row: row["predicted_at"])
    assert (old["entity"], old["prediction"], old["customer_id"]) == ('{"customer_id":1}', "true", None)
    assert (new["entity"], new["prediction"], new["customer_id"]) == (None, None, 3)
    assert new["value_prediction"] in (True, False)


def test_versions_of_other_types_share_a_table(world: World, logged: Any) -> None:
    likely = models.log_model(
        world.model, training_set=world.training_set, registered_model_name="mixed", pyfunc_predict_fn="predict_proba"
    )
    models.log_model(world.model, training_set=world.training_set, registered_model_name="mixed")
    for version in (1, 2):
        models.score(f"models:/mixed/{version}", keys(3), at="online", log=True)
    first, second = sorted(world.store.catalog.load_table("inference.mixed").scan().to_arrow().to_pylist(), key=lambda row: row["version"])
    assert likely.registered_model_version == 1
    assert (len(first["prediction"]), first["prediction_bool"]) == (2, None)
    assert (second["prediction"], type(second["prediction_bool"])) == (None, bool)


def test_a_batch_that_is_asked_for_again_is_logged_once(world: World, logged: Any) -> None:
    def logged_rows() -> int:
        return int(world.store.catalog.load_table("inference.churn").scan().to_arrow().num_rows)

    models.score("models:/churn/1", keys(3), at="online", log="night 1")
    before = logged_rows()
    again: list[tuple[bool | str, int]] = [("night 1", 0), ("night 2", 1), ("night 1", 0), (True, 1), (True, 1)]
    for batch, added in again:
        models.score("models:/churn/1", keys(3), at="online", log=batch)
        before += added
        assert logged_rows() == before
    with pytest.raises(RequestError, match="log=''"):
        models.score("models:/churn/1", keys(3), at="online", log="")


def test_a_frame_comes_back_with_every_digit(world: World, logged: Any) -> None:
    sent = keys(3, 4).assign(note=pd.array([2**53 + 1, None], "Int64"))
    scored = models.score(logged.model_uri, sent, at="online")
    assert (str(scored["note"].dtype), scored["note"][0]) == ("Int64", 2**53 + 1)


@pytest.mark.slow
def test_a_spine_in_csv_files_is_read_as_its_format_says(logged: Any, tmp_path: Any) -> None:
    (tmp_path / "asked.csv").write_text("customer_id;basket;asked_at;t\n3;1,5;25.03.2026;25.03.2026\n4;2;26.03.2026;26.03.2026\n")
    written = Csv(delimiter=";", decimal=",", date="%d.%m.%Y")
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (25, 26)]
    same = pa.table({"customer_id": [3, 4], "basket": [1.5, 2.0], "asked_at": days, "t": days})
    for at in ("online", None, "2026-03-27"):
        scored = models.score(logged.model_uri, tmp_path / "asked.csv", at=at, format=written)
        told = models.score(logged.model_uri, same, at=at)
        assert scored.drop_columns(["asked_at", "t"]).equals(told.drop_columns(["asked_at", "t"]))
    with pytest.raises(RequestError, match=r"asked\.csv, line 2, column 't': '25.03.2026' is not"):
        models.score(logged.model_uri, tmp_path / "asked.csv", format=Csv(delimiter=";", decimal=","))


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("what", ["cut", "interrupt"])
def test_a_log_that_breaks_off_has_a_batch_once(world: World, logged: Any, what: str, moment: str) -> None:
    batch = f"night of {what} {moment}"
    models.score("models:/churn/1", keys(3), at="online", log="a night that is whole")
    before = int(world.store.catalog.load_table("inference.churn").scan().to_arrow().num_rows)
    fault = Fault(Failure(what, moment))
    with Sql().broken(world.store, fault), pytest.raises(KeyboardInterrupt) if what == "interrupt" else nullcontext():
        models.score("models:/churn/1", keys(3, 4), at="online", log=batch, store=world.store)
    assert fault.struck == 1
    scored = models.score("models:/churn/1", keys(3, 4), at="online", log=batch, store=world.store)
    assert len(scored) == 2
    assert world.store.catalog.load_table("inference.churn").scan().to_arrow().num_rows == before + 2
