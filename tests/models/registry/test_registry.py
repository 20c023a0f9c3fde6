"""The chain from a snapshot to the models trained on it, and from a model back to its rows."""

from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, models
from featurestore.errors import DigestMismatch, NotFound, RequestError
from featurestore.models.stamping.model_logging import make_stamp
from featurestore.models.stamps import locate_store
from featurestore.models.stamps.stamp import stamp_from_dict, training_set_id
from featurestore.records import model_events as audit
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


def test_a_model_leads_to_its_training_set_by_any_address(world: World, logged: Any) -> None:
    models.set_alias("churn", "champion", 1, store=world.store)
    addresses = ("models:/churn/1", "models:/churn@champion", f"models:/{logged.model_id}", f"runs:/{logged.run_id}/churn")
    assert {training_set_id(uri) for uri in addresses} == {world.training_set.id}
    manifest = models.training_set("models:/churn@champion")
    assert manifest == manifest.to_dict() == dict(manifest) == world.training_set.manifest
    assert (manifest.id, manifest.digest) == (world.training_set.id, world.training_set.digest)
    assert (manifest.snapshots, manifest["sql"]) == (world.training_set.snapshots, world.training_set.sql)
    assert world.store.rebuild("models:/churn/1").digest == world.training_set.digest
    with pytest.raises(NotFound, match="churn/9"):
        training_set_id("models:/churn/9")


def test_a_snapshot_leads_to_the_models(world: World, logged: Any) -> None:
    table, snapshot = "features.customer_orders_v1", world.training_set.snapshots["customer_orders_v1"]
    trained = models.trained_on(table=table, snapshot_id=snapshot, store=world.store)
    assert trained == models.trained_on(table="customer_orders_v1", snapshot_id=str(snapshot))
    mine = next(model for model in trained if model["model"] == "churn" and model["version"] == "1")
    assert mine["model_id"] == logged.model_id
    assert mine["training_set"] == world.training_set.id
    assert mine["model_uri"] == mine.model_uri == "models:/churn/1"
    assert list(mine.to_dict()) == ["model", "version", "aliases", "model_uri", "model_id", "run_id", "training_set"]
    assert models.trained_on(table=table, snapshot_id=1) == []


def test_copies_are_found_and_deleted_versions_not(world: World) -> None:
    info = models.log_model(world.model, training_set=world.training_set, registered_model_name="origin")
    client = mlflow.MlflowClient()
    client.copy_model_version(f"models:/origin/{info.registered_model_version}", "copy")
    mlflow.register_model(info.model_uri, "later")
    snapshot = world.training_set.snapshots["customer_profile_v1"]

    def names() -> set[str]:
        return {model["model"] for model in models.trained_on("customer_profile_v1", snapshot) if model["version"]}

    assert {"origin", "copy", "later"} <= names()
    client.delete_model_version("later", "1")
    assert "later" not in names()


def test_every_event_is_recorded_newest_first(world: World) -> None:
    models.log_model(world.model, training_set=world.training_set, registered_model_name="audited", metrics={"auc": 0.5})
    models.set_alias("audited", "champion", 1, approver="her", store=world.store)
    snapshot = world.training_set.snapshots["customer_orders_v1"]
    trained = models.trained_on("customer_orders_v1", snapshot, store=world.store)
    assert [model["aliases"] for model in trained if model["model"] == "audited"] == [["champion"]]
    models.set_alias("audited", "champion", None, approver="him", store=world.store)
    parts = Runtime(world.store.settings)
    events = [event for event in audit.list_events(parts) if event["model"] == "audited" or event["event"] == "logged"][:4]
    parts.close()
    assert [(event["event"], event["version"], event["alias"], event["approver"]) for event in events] == [
        ("alias removed", "1", "champion", "him"),
        ("alias set", "1", "champion", "her"),
        ("registered", "1", None, None),
        ("logged", None, None, None),
    ]
    registered = events[2]
    assert registered["training_set"] == world.training_set.id
    assert registered["metrics"] == {"auc": 0.5}
    assert registered["snapshots"] == {table: str(snapshot) for table, snapshot in world.training_set.snapshots.items()}
    assert {event["model_id"] for event in events} == {registered["model_id"]}
    assert "champion" not in mlflow.MlflowClient().get_registered_model("audited").aliases


def test_no_event_in_a_new_store(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path / "new") as store:
        assert audit.list_events(Runtime(store.settings)) == []


def test_an_alias_that_is_not_there_is_answered_with_those_that_are(world: World) -> None:
    models.log_model(world.model, training_set=world.training_set, registered_model_name="ranked")
    models.set_alias("ranked", "champion", 1, store=world.store)
    with pytest.raises(NotFound, match=r"no model 'models:/ranked@champ' .*did you mean 'models:/ranked@champion'"):
        models.score("models:/ranked@champ", [], store=world.store)


def test_only_a_stamped_version_gets_an_alias(world: World) -> None:
    mlflow.sklearn.log_model(world.model, name="x", registered_model_name="unstamped", pip_requirements=[], serialization_format="pickle")
    with pytest.raises(RequestError, match="has no stamp"):
        models.set_alias("unstamped", "champion", 1, store=world.store)
    with pytest.raises(NotFound, match="models:/unstamped/5"):
        models.set_alias("unstamped", "champion", 5, store=world.store)


def test_a_stamp_of_another_digest_is_found_by_rebuild(world: World, tmp_path: Path) -> None:
    info = models.log_model(world.model, training_set=world.training_set)
    folder = Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path)))
    file = folder / "MLmodel"
    file.write_text(file.read_text().replace(world.training_set.digest, "f" * 64))
    assert world.store.rebuild(info.model_uri).digest == world.training_set.digest
    with pytest.raises(DigestMismatch, match=rf"the stamp of .* has the digest f{{64}} for training set {world.training_set.id}"):
        world.store.rebuild(str(folder))


def test_a_stamp_survives_json(world: World) -> None:
    stamp = make_stamp(world.model, world.training_set, None, world.store, inputs=None, missing="nan", by_name=False)
    assert stamp_from_dict(stamp.to_dict()) == stamp


def test_the_hint_holds_no_secrets(tmp_path: Path) -> None:
    catalog = {
        "type": "sql",
        "uri": "postgresql+psycopg2://me:hunter2@db:5432/lake?sslmode=require&password=hunter2",
        "s3.endpoint": "http://s3:9000",
        "s3.access-key-id": "hunter2",
        "s3.secret-access-key": "hunter2",
    }
    hint = locate_store.describe_store(
        Settings(home=tmp_path, catalog=catalog, warehouse="s3://lake/w", online="redis://:hunter2@cache:6379/0?prefix=x")
    )
    assert "hunter2" not in str(hint)
    assert hint["catalog"]["uri"] == "postgresql+psycopg2://me:***@db:5432/lake?sslmode=require&password=***"
    assert hint["online"] == "redis://:***@cache:6379/0?prefix=x"
    assert hint["catalog"]["s3.endpoint"] == "http://s3:9000"
    assert not hint["complete"]
    assert locate_store.describe_store(Settings(home=tmp_path))["complete"]
