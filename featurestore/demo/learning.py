"""The model: gradient boosted trees, trained on nine months and evaluated on the last three."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline

from featurestore.demo.spine import HOLD_OUT_FROM, LABEL


@dataclass(frozen=True)
class Trained:
    """A model, its input columns, the number of its training rows, and its AUC on the held-out rows."""

    model: Pipeline
    inputs: list[str]
    rows: int
    auc: float


ITERATIONS = 60
"""The trees of the model."""


def train(rows: pd.DataFrame, inputs: list[str], iterations: int = ITERATIONS) -> Trained:
    """Fit so many trees on the flights scheduled before HOLD_OUT_FROM."""
    in_training = rows["scheduled_at"] < pd.Timestamp(HOLD_OUT_FROM)
    # The trees accept NULLs, but not a column of NULLs only (the weather at the destination), so a step before them drops constant
    # columns.
    model = make_pipeline(VarianceThreshold(), HistGradientBoostingClassifier(max_iter=iterations, random_state=0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="sklearn.feature_selection")
        model.fit(numbers(rows[in_training], inputs), rows.loc[in_training, LABEL])
    return Trained(model, inputs, int(in_training.sum()), auc(model, rows, inputs))


def auc(model: Pipeline, rows: pd.DataFrame, inputs: list[str]) -> float:
    """The probability that a late held-out flight gets a higher score than a punctual one: 0.5 is chance, 1 is perfect."""
    held_out = rows[rows["scheduled_at"] >= pd.Timestamp(HOLD_OUT_FROM)]
    scores = model.predict_proba(numbers(held_out, inputs))[:, 1]
    return float(roc_auc_score(held_out[LABEL], scores))


def numbers(rows: pd.DataFrame, inputs: list[str]) -> pd.DataFrame:
    """The inputs as doubles, with NaN for NULL."""
    return rows[inputs].astype(np.float64)
