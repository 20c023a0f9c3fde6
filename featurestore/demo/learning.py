"""The model: gradient boosted trees, learnt on the first nine months, judged on the last three."""

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
    """A model, the columns it reads, how many rows it has seen, and its AUC on the rows held out."""

    model: Pipeline
    inputs: list[str]
    rows: int
    auc: float


def train(rows: pd.DataFrame, inputs: list[str]) -> Trained:
    """Fit on the flights scheduled before the hold-out begins."""
    seen = rows["scheduled_at"] < pd.Timestamp(HOLD_OUT_FROM)
    # Trees take a NULL as it is: that something is not known says something too. A column that is nothing but NULL (the weather at
    # the destination) they refuse, so a step before them drops what does not vary.
    model = make_pipeline(VarianceThreshold(), HistGradientBoostingClassifier(max_iter=60, random_state=0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="sklearn.feature_selection")
        model.fit(numbers(rows[seen], inputs), rows.loc[seen, LABEL])
    return Trained(model, inputs, int(seen.sum()), auc(model, rows, inputs))


def auc(model: Pipeline, rows: pd.DataFrame, inputs: list[str]) -> float:
    """The chance that a late flight of the hold-out is ranked above a punctual one: 0.5 is guessing, 1 is knowing."""
    unseen = rows[rows["scheduled_at"] >= pd.Timestamp(HOLD_OUT_FROM)]
    scores = model.predict_proba(numbers(unseen, inputs))[:, 1]
    return float(roc_auc_score(unseen[LABEL], scores))


def numbers(rows: pd.DataFrame, inputs: list[str]) -> pd.DataFrame:
    """The model's inputs, all as doubles, NULL as NaN."""
    return rows[inputs].astype(np.float64)
