"""The method of a model to call: probabilities from every library that has them, and errors for others."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow  # isort: skip - before anything else imports it
from featurestore import models
from featurestore.errors import MissingExtra, RequestError
from tests.models import worlds
from tests.models.worlds import World

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


def lightgbm_classifier(rows: Any, label: Any) -> Any:
    lightgbm = pytest.importorskip("lightgbm")
    return lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=5, n_jobs=1, verbose=-1).fit(rows, label)


def xgboost_classifier(rows: Any, label: Any) -> Any:
    xgboost = pytest.importorskip("xgboost")
    return xgboost.XGBClassifier(n_estimators=3, max_depth=2, n_jobs=1).fit(rows, label)


@pytest.mark.parametrize("fit", [lightgbm_classifier, xgboost_classifier, worlds.fit])
def test_probabilities_come_from_every_library(world: World, fit: Callable[[Any, Any], Any]) -> None:
    rows = world.training_set.to_pandas()
    inputs = rows[world.inputs].astype("float64")
    model = fit(inputs, rows["churned"].astype("int64"))
    info = models.log_model(model, training_set=world.training_set, name="likely", pyfunc_predict_fn="predict_proba")
    scored = models.score(info.model_uri, worlds.spine(), at="training")
    np.testing.assert_array_equal(np.array(scored.column("prediction").to_pylist()), model.predict_proba(inputs).astype("float64"))
    keyed = mlflow.pyfunc.load_model(info.model_uri).predict(worlds.keys(1, 2))
    assert np.asarray(keyed).shape == (2, 2)


def test_a_booster_has_no_probabilities_of_its_own(world: World) -> None:
    rows = world.training_set.to_pandas()
    booster = lightgbm_classifier(rows[world.inputs].astype("float64"), rows["churned"].astype("int64")).booster_
    with pytest.raises(RequestError, match="Booster has no method predict_proba, only predict"):
        models.log_model(booster, training_set=world.training_set, pyfunc_predict_fn="predict_proba")


def test_an_unknown_method_is_refused_with_the_nearest(world: World) -> None:
    with pytest.raises(RequestError, match="no method 'predict_probs' that predicts; did you mean 'predict_proba'"):
        models.log_model(world.model, training_set=world.training_set, pyfunc_predict_fn="predict_probs")


def test_a_model_whose_own_package_is_missing_names_it(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_library_of_models.py").write_text("def answer(rows):\n    return [1] * len(rows)\n")
    monkeypatch.syspath_prepend(tmp_path)
    library: Any = __import__("a_library_of_models")

    class Answering(PythonModel):  # type: ignore[misc]
        def __init__(self) -> None:
            self.answer = library.answer

        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return self.answer(model_input)

    info = models.log_model(Answering(), training_set=world.training_set, name="borrowed", inputs=world.inputs)
    monkeypatch.undo()
    del sys.modules["a_library_of_models"]
    with pytest.raises(
        MissingExtra, match="the model needs the package a_library_of_models, which is not installed here: pip install"
    ) as caught:
        models.score(info.model_uri, worlds.spine(rows=2), at="training")
    assert caught.value.details["package"] == "a_library_of_models"
