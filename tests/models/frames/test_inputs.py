"""The columns and parameters of models that do not say them: asked for, or passed on, never guessed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from featurestore import models
from featurestore.errors import Conflict, RequestError
from featurestore.models import LoadedModels
from featurestore.models.stamps.bundle import Native
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow
from tests.models.worlds import World, keys

pytestmark = VENDOR_WARNINGS

RECORD = {"customer_id": 3, "basket": 10.0, "asked_at": "2026-03-25T00:00:00Z"}
CODE = """
import mlflow
class Basket(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return list(model_input["basket"])
mlflow.models.set_model(Basket())
"""


class Basket(PythonModel):  # type: ignore[misc]
    """A model that reads a request field, and a parameter."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """The basket times a factor."""
        return list(model_input["basket"] * (params or {"factor": 1.0})["factor"])


def second_column(count: int) -> Any:
    """A regression on a bare matrix that returns its second column; it has no names, like a network."""
    rows = np.random.default_rng(1).normal(size=(50, count))
    return LinearRegression().fit(rows, rows[:, 1])


def test_a_model_without_names_is_logged_with_them_only(world: World) -> None:
    # As many columns as the service has features: still, nobody knows their order.
    for count in (2, len(world.training_set.features)):
        with pytest.raises(RequestError, match=r"does not name the columns .* pass inputs=\[\.\.\.\].* has the features o_orders_30d"):
            models.log_model(second_column(count), training_set=world.training_set)
    info = models.log_model(second_column(2), training_set=world.training_set, inputs=["age", "basket"])
    assert mlflow.pyfunc.load_model(info.model_uri).predict(keys(3, basket=42.0)) == pytest.approx([42.0])


def test_other_inputs_attached_afterwards_take_effect(world: World) -> None:
    info = models.log_model(second_column(2), training_set=world.training_set, inputs=["basket", "age"], registered_model_name="order")
    assert mlflow.pyfunc.load_model(info.model_uri).predict(keys(3, basket=42.0)) == pytest.approx([23.0])
    models.attach(info.model_uri, training_set=world.training_set, inputs=["age", "basket"])
    assert mlflow.pyfunc.load_model(info.model_uri).predict(keys(3, basket=42.0)) == pytest.approx([42.0])
    assert LoadedModels(world.store).get("order").predict([RECORD]).predictions == pytest.approx([10.0])
    assert models.attach(info.model_uri, training_set=world.training_set, inputs=["age", "basket"]).model_id == info.model_id
    with pytest.raises(RequestError, match="matrix of 2 columns"):
        models.attach(info.model_uri, training_set=world.training_set, inputs=["age"])


@pytest.mark.filterwarnings("ignore:.*Add type hints")
def test_request_fields_reach_code_of_ones_own(world: World, tmp_path: Path) -> None:
    code = tmp_path / "basket.py"
    code.write_text(CODE)
    for model in (Basket(), str(code)):
        info = models.log_model(model, training_set=world.training_set, pip_requirements=["mlflow"])
        assert mlflow.pyfunc.load_model(info.model_uri).predict(keys(3, basket=42.0)) == [42.0]


def test_parameters_of_the_signature_work_everywhere(world: World) -> None:
    signature = mlflow.models.infer_signature(pd.DataFrame({"basket": [1.0]}), [1.0], params={"factor": 2.0})
    info = models.log_model(Basket(), training_set=world.training_set, signature=signature, registered_model_name="factor")
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    assert (loaded.predict(keys(3)), loaded.predict(keys(3), params={"factor": 5.0})) == ([20.0], [50.0])
    served = LoadedModels(world.store).get("factor")
    assert served.predict([RECORD]).predictions == [20.0]
    assert served.predict([RECORD], {"factor": 3}).predictions == [30.0]
    scored = models.score(info.model_uri, keys(3), at="online", params={"factor": 4.0}, store=world.store)
    assert scored["prediction"].tolist() == [40.0]
    with pytest.raises(RequestError, match="no parameter 'facto'; did you mean 'factor'"):
        served.predict([RECORD], {"facto": 3})
    with pytest.raises(RequestError, match=r"'factor' must be .*, not str"):
        served.predict([RECORD], {"factor": "much"})


@pytest.mark.filterwarnings("ignore:.*An input example was not provided")
def test_an_attached_model_keeps_its_parameters(world: World) -> None:
    signature = mlflow.models.infer_signature(pd.DataFrame({"basket": [1.0]}), [1.0], params={"factor": 2.0})
    info = mlflow.pyfunc.log_model(name="later", python_model=Basket(), signature=signature, pip_requirements=["mlflow"])
    mlflow.end_run()
    models.attach(info.model_uri, training_set=world.training_set)
    assert mlflow.pyfunc.load_model(info.model_uri).predict(keys(3), params={"factor": 5.0}) == [50.0]


def test_the_part_that_a_model_was_trained_on_is_recorded(world: World) -> None:
    split = {"train": 0.6, "test": 0.4}
    whole = world.store.training_set("churn", spine=worlds.spine(), timestamp="t", label="churned", name="parted", split=split)
    part = whole.split("train")
    info = models.log_model(world.model, training_set=part, registered_model_name="parted")
    run = mlflow.get_run(info.run_id).inputs.dataset_inputs[0]
    rows = part.to_arrow().num_rows
    assert run.dataset.name == f"training_sets.parted@{whole.manifest['snapshot_id']}.train"
    assert json.loads(run.dataset.profile)["num_rows"] == rows
    assert mlflow.data.get_source(run.dataset).load().num_rows == rows
    assert [tag.value for tag in run.tags] == ["train"]
    assert 0 < rows < whole.manifest["rows"]
    assert mlflow.MlflowClient().get_model_version("parted", "1").tags["featurestore.part"] == "train"
    assert mlflow.models.get_model_info(info.model_uri).metadata["featurestore"]["part"] == "train"


def test_a_file_that_was_swapped_is_refused_by_name(world: World, tmp_path: Path) -> None:
    info = models.log_model(world.model, training_set=world.training_set)
    folder = Path(mlflow.artifacts.download_artifacts(info.model_uri, dst_path=str(tmp_path)))
    assert Native(folder).stamp.files
    swapped = next(path for path in folder.iterdir() if path.name.startswith("model."))
    swapped.write_bytes(swapped.read_bytes() + b" ")
    with pytest.raises(Conflict, match=rf"the model's file {swapped.name} has other content since it was stamped"):
        mlflow.pyfunc.load_model(str(folder))
    swapped.unlink()
    with pytest.raises(Conflict, match=rf"{swapped.name} is missing"):
        Native(folder)
