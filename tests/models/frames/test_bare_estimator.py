"""Estimators without the names of their columns predict from a matrix what the originals predict from a frame, bit for bit."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA, KernelPCA
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestRegressor, VotingRegressor
from sklearn.feature_selection import SelectFromModel, SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from featurestore.models.frames.bare_estimator import only_computes, without_names
from featurestore.models.stamps.flavor import reads_matrix
from tests.models.vendor import VENDOR_WARNINGS

pytestmark = VENDOR_WARNINGS
NAMES = ["a", "b", "c", "d"]
ESTIMATORS: list[Any] = [
    LogisticRegression(),
    DecisionTreeClassifier(max_depth=3),
    RandomForestRegressor(n_estimators=5),
    GradientBoostingClassifier(n_estimators=5),
    HistGradientBoostingClassifier(max_iter=5),
    make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
    make_pipeline(SimpleImputer(), "passthrough", PCA(2), Ridge()),
    make_pipeline(SimpleImputer(), SelectKBest(k=2), PowerTransformer(), Ridge()),
    make_pipeline(SelectFromModel(Ridge()), LogisticRegression()),
]
TAKE_NAN = (HistGradientBoostingClassifier, DecisionTreeClassifier, RandomForestRegressor)


def rows(seed: int, nan: bool) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    values = random.normal(size=(60, len(NAMES))) * [1, 0.1, 10, 1]
    values[:, 3] = random.integers(0, 2, 60)
    if nan:
        values[random.random(values.shape) < 0.1] = np.nan
    return pd.DataFrame(values, columns=NAMES)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_predictions_are_those_from_a_frame(estimator: Any) -> None:
    takes_nan = isinstance(estimator, TAKE_NAN) or "simpleimputer" in getattr(estimator, "named_steps", {})
    label = np.arange(60) % 2
    fitted = estimator.fit(rows(1, takes_nan), label)
    assert reads_matrix(fitted)
    bare, asked = without_names(fitted), rows(2, takes_nan)
    for method in ("predict", "predict_proba"):
        if hasattr(fitted, method):
            # A warning about names would be an error.
            np.testing.assert_array_equal(getattr(bare, method)(asked.to_numpy()), getattr(fitted, method)(asked))
    assert list(fitted.feature_names_in_) == NAMES, "the original is not changed"
    assert "__sklearn_is_fitted__" not in vars(fitted)


def test_others_keep_their_frames() -> None:
    frame, label = rows(1, False), np.arange(60) % 2
    assert without_names(LogisticRegression().fit(frame.to_numpy(), label)) is None
    framed = make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression()).fit(frame, label)
    assert without_names(framed) is None
    foreign = make_pipeline(StandardScaler(), Foreign()).fit(frame, label)
    assert without_names(foreign) is None
    assert without_names(make_pipeline(make_pipeline(FunctionTransformer()), LogisticRegression()).fit(frame, label)) is None


@pytest.mark.parametrize("estimator", ESTIMATORS[:-1], ids=str)
def test_estimators_of_plain_values_only_compute(estimator: Any) -> None:
    has_functions = "selectkbest" in getattr(estimator, "named_steps", {})
    assert only_computes(estimator) != has_functions


@pytest.mark.parametrize(
    "estimator",
    [
        KernelPCA(kernel=np.dot),
        RandomForestRegressor(n_jobs=-1),
        SelectFromModel(Ridge(), importance_getter=abs),
        make_pipeline(StandardScaler(), SelectFromModel(RandomForestRegressor(n_jobs=2))),
        FunctionTransformer(np.log),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_functions_threads_and_foreign_code_may_do_more(estimator: Any) -> None:
    assert not only_computes(estimator)


def test_an_estimator_of_others_may_do_more() -> None:
    assert not only_computes(Foreign())
    assert not only_computes(SelectFromModel(Foreign()))
    assert not only_computes(VotingRegressor([("a", Ridge()), ("b", Foreign())]))
    assert only_computes(VotingRegressor([("a", Ridge()), ("b", Ridge())]))


class Foreign(Ridge):  # type: ignore[misc]
    """An estimator whose module is not scikit-learn's."""
