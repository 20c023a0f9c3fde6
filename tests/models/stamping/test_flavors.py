"""Models of every kind score from keys what they say of the training rows, at every form of address."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import pandas as pd
import pytest
import xgboost as xgb
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow  # isort: skip - before anything else imports it
from featurestore import models
from featurestore.errors import RequestError, TypeMismatch
from tests.models import worlds
from tests.models.worlds import World

pytestmark = [
    *VENDOR_WARNINGS,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

NUMBERS = ["basket", "age"]
MIXED = ["basket", "country", "age"]
CODE = """
import mlflow

class Sum(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["basket"] + model_input["age"].fillna(0).astype(float)).tolist()

mlflow.models.set_model(Sum())
"""


class Country(PythonModel):  # type: ignore[misc]
    """Code of one's own, which reads a text."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return [f"{country}" for country in model_input["country"]]


@dataclass
class Case:
    """A model with its inputs, how it answers for rows of the training set, and options of log_model."""

    model: Any
    inputs: list[str]
    answer: Callable[[pd.DataFrame], Any]
    options: dict[str, Any]


def categorical(rows: pd.DataFrame) -> pd.DataFrame:
    """Texts as categories, in an order that is not that of the alphabet."""
    return rows.assign(country=pd.Categorical(rows["country"], categories=["NO", "DE", "FR"]))


def doubles(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(age=rows["age"].astype("float64"))


def encoded(rows: pd.DataFrame) -> Case:
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["country"]), remainder="passthrough")
    columns = ["basket", "country"]
    pipeline = make_pipeline(encoder, LogisticRegression(max_iter=2000)).fit(rows[columns], rows["churned"])
    return Case(pipeline, columns, pipeline.predict_proba, {"pyfunc_predict_fn": "predict_proba"})


def native_categories(rows: pd.DataFrame) -> Case:
    trees = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(
        categorical(doubles(rows))[MIXED], rows["churned"]
    )
    return Case(trees, MIXED, lambda given: trees.predict_proba(categorical(doubles(given))), {"pyfunc_predict_fn": "predict_proba"})


def lightgbm_categories(rows: pd.DataFrame) -> Case:
    trees = lgb.LGBMClassifier(n_estimators=5, min_child_samples=2, verbose=-1).fit(categorical(doubles(rows))[MIXED], rows["churned"])
    return Case(trees, MIXED, lambda given: trees.predict_proba(categorical(doubles(given))), {"pyfunc_predict_fn": "predict_proba"})


def lightgbm_booster(rows: pd.DataFrame) -> Case:
    data = lgb.Dataset(categorical(doubles(rows))[MIXED], rows["churned"])
    booster = lgb.train({"objective": "binary", "min_data_in_leaf": 2, "verbose": -1}, data, num_boost_round=5)
    return Case(booster, MIXED, lambda given: booster.predict(categorical(doubles(given))), {})


def xgboost_categories(rows: pd.DataFrame) -> Case:
    trees = xgb.XGBClassifier(n_estimators=5, enable_categorical=True).fit(categorical(doubles(rows))[MIXED], rows["churned"])
    return Case(trees, MIXED, lambda given: trees.predict_proba(categorical(doubles(given))), {"pyfunc_predict_fn": "predict_proba"})


def xgboost_booster(rows: pd.DataFrame) -> Case:
    booster = xgb.train({"objective": "binary:logistic"}, xgb.DMatrix(doubles(rows)[NUMBERS], rows["churned"]), num_boost_round=5)
    return Case(booster, NUMBERS, lambda given: booster.predict(xgb.DMatrix(doubles(given))), {})


def python_model(rows: pd.DataFrame) -> Case:
    return Case(Country(), ["country"], lambda given: [f"{country}" for country in given["country"]], {"inputs": ["country"]})


def code(rows: pd.DataFrame) -> Case:
    Path("sum_model.py").write_text(CODE)
    return Case("sum_model.py", NUMBERS, lambda given: given["basket"] + given["age"].fillna(0).astype(float), {"inputs": NUMBERS})


def torch_module(rows: pd.DataFrame) -> Case:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(1, 1)

    def answer(given: pd.DataFrame) -> Any:
        with torch.no_grad():
            return module(torch.tensor(given.to_numpy("float32"))).numpy()[:, 0]

    return Case(module, ["basket"], answer, {"inputs": ["basket"]})


CASES = (
    encoded,
    native_categories,
    lightgbm_categories,
    lightgbm_booster,
    xgboost_categories,
    xgboost_booster,
    python_model,
    code,
    torch_module,
)


def plain(answers: Any) -> list[Any]:
    """Answers as numbers rounded to what a library keeps of a float, or as texts."""
    values = answers.tolist() if hasattr(answers, "tolist") else list(answers)
    return [value if isinstance(value, str) else pytest.approx(value, rel=1e-6) for value in values]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_a_model_of_any_kind_answers_from_keys_at_any_address(world: World, make: Callable[[pd.DataFrame], Case], tmp_path: Path) -> None:
    rows = world.training_set.to_pandas()
    case = make(rows)
    name = make.__name__
    info = models.log_model(case.model, training_set=world.training_set, name=name, registered_model_name=name, **case.options)
    version = info.registered_model_version
    models.set_alias(name, "champion", version, store=world.store)
    folder = mlflow.artifacts.download_artifacts(f"models:/{info.model_id}", dst_path=str(tmp_path / "model"))
    forms = [f"models:/{name}/{version}", f"models:/{name}@champion", f"models:/{info.model_id}", f"runs:/{info.run_id}/{name}", folder]
    for uri in forms:
        assert models.training_set(uri, world.store.settings)["id"] == world.training_set.id
    uri = forms[CASES.index(make) % len(forms)]
    scored = models.score(uri, worlds.spine(), at="training", store=world.store)
    assert scored["prediction"].to_pylist() == plain(case.answer(rows[case.inputs]))
    # Through MLflow, with the newest features, which are those of the training here.
    keyed = mlflow.pyfunc.load_model(forms[0]).predict(
        worlds.spine().slice(0, 40).select(["customer_id", "basket", "asked_at"]).to_pandas()
    )
    assert list(keyed) == plain(case.answer(rows[case.inputs].head(40)))


def test_an_autologged_model_is_attached(world: World) -> None:
    rows = world.training_set.to_pandas().dropna()
    mlflow.sklearn.autolog(silent=True)
    try:
        with mlflow.start_run() as run:
            forest = RandomForestClassifier(3, random_state=0).fit(rows[["basket", "o_mean"]].astype(float), rows["churned"])
    finally:
        mlflow.sklearn.autolog(disable=True)
    uri = f"runs:/{run.info.run_id}/model"
    models.attach(uri, training_set=world.training_set, store=world.store, missing={"o_mean": -1.0})
    scored = models.score(uri, worlds.spine(), at="training", store=world.store)
    known = scored["o_mean"].to_pandas().fillna(-1.0)
    expected = forest.predict(pd.DataFrame({"basket": scored["basket"].to_pandas(), "o_mean": known}))
    assert scored["prediction"].to_pylist() == expected.tolist()
    assert scored["o_mean"].null_count > 0, "the answer says what was looked up"
    names = [entry.path for entry in mlflow.MlflowClient().list_artifacts(run.info.run_id, f"training_set/{world.training_set.id}")]
    assert f"training_set/{world.training_set.id}/distributions.svg" in names


def test_unknown_categories_are_missing_ones(world: World) -> None:
    rows = world.training_set.to_pandas()
    case = lightgbm_categories(rows[rows["country"] != "NO"].reset_index(drop=True))
    info = models.log_model(case.model, training_set=world.training_set, name="partial", pyfunc_predict_fn="predict_proba")
    scored = models.score(info.model_uri, worlds.spine(), at="training", store=world.store)
    without = rows[MIXED].assign(country=rows["country"].where(rows["country"] != "NO", None))
    assert scored["prediction"].to_pylist() == plain(case.answer(without))


@pytest.mark.parametrize(
    "missing, said",
    [
        ("none", "must be 'nan'"),
        (None, "must be 'nan'"),
        ({"o_men": 1.0}, "did you mean 'o_mean'"),
        ({"basket": 1.0}, "not a feature"),
        ({"o_mean": None}, "leave it out"),
        ({"o_mean": "many"}, "o_mean"),
        ({"o_mean": [1.0]}, "o_mean"),
    ],
)
def test_defaults_are_checked(world: World, missing: Any, said: str) -> None:
    with pytest.raises((RequestError, TypeMismatch), match=said):
        models.log_model(world.model, training_set=world.training_set, missing=missing)
