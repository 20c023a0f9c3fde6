"""Stamping a model after it was logged without the store."""

from typing import Any

import pytest

from featurestore import models
from featurestore.errors import Conflict, NotFound
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World, keys

pytestmark = VENDOR_WARNINGS


@pytest.fixture
def bare(world: World) -> Any:
    """A model as autolog leaves it: with a signature of its columns, in a run, registered."""
    rows = world.training_set.to_pandas()[world.inputs].astype("float64")
    with mlflow.start_run():
        return mlflow.sklearn.log_model(
            world.model,
            name="bare",
            registered_model_name="attached",
            signature=mlflow.models.infer_signature(rows, world.model.predict(rows)),
            pip_requirements=[],
            serialization_format="pickle",
        )


@pytest.mark.slow
def test_it_then_is_like_one_that_was_logged_with_it(world: World, bare: Any) -> None:
    uri = f"models:/attached/{bare.registered_model_version}"
    native = mlflow.sklearn.load_model(uri)
    info = models.attach(uri, training_set=world.training_set)
    assert info.model_id == bare.model_id
    assert models.training_set(uri)["id"] == world.training_set.id
    client = mlflow.MlflowClient()
    assert (
        client.get_model_version("attached", str(bare.registered_model_version)).tags["featurestore.training_set"] == world.training_set.id
    )
    assert client.get_logged_model(bare.model_id).tags["featurestore.digest"] == world.training_set.digest
    assert client.get_run(bare.run_id).inputs.dataset_inputs[0].dataset.digest == world.training_set.digest[:36]
    assert len(mlflow.pyfunc.load_model(uri).predict(keys(3, 4))) == 2
    rows = world.training_set.to_pandas()[world.inputs].astype("float64")
    assert (mlflow.sklearn.load_model(uri).predict(rows) == native.predict(rows)).all()


@pytest.mark.slow
def test_twice_is_once(world: World, bare: Any) -> None:
    models.attach(bare.model_uri, training_set=world.training_set)
    models.attach(bare.model_uri, training_set=world.training_set)
    assert len(mlflow.pyfunc.load_model(bare.model_uri).predict(keys(3))) == 1
    assert len(mlflow.MlflowClient().get_run(bare.run_id).inputs.dataset_inputs) == 1


def test_a_model_was_trained_on_one_training_set(world: World, bare: Any) -> None:
    models.attach(bare.model_uri, training_set=world.training_set)
    other = world.store.training_set("churn", spine=worlds.spine(50), timestamp="t", label="churned", name="other")
    with pytest.raises(Conflict, match=f"is already stamped with training set {world.training_set.id}"):
        models.attach(bare.model_uri, training_set=other)


def test_a_model_that_is_not_there(world: World) -> None:
    with pytest.raises(NotFound, match="attached/99"):
        models.attach("models:/attached/99", training_set=world.training_set)
