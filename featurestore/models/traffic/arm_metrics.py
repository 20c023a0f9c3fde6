"""Distributions and metrics of predictions with confidence intervals, of the normal approximation."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from featurestore.pipelines.lineage.traffic_comparison import Estimate

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_CLASSES = 50
"""The classes that are counted, those with the most rows."""
OTHERS = "(others)"


def mean_of(values: np.ndarray) -> Estimate | None:
    """The mean of numbers; None for none."""
    if not len(values):
        return None
    value = float(values.mean())
    if len(values) < 2:
        return Estimate(value, None, None)
    half = Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Estimate(value, value - half, value + half)


def quantiles_of(values: np.ndarray) -> dict[str, float]:
    """Interpolated quantiles."""
    return {f"{at:g}": float(value) for at, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)} if len(values) else {}


def shares_of(values: Sequence[Any]) -> dict[str, Estimate]:
    """The share of each class, the most frequent first, with Wilson's interval."""
    counts = Counter("null" if value is None else str(value).lower() if isinstance(value, bool) else str(value) for value in values)
    named = counts.most_common(MOST_CLASSES)
    others = len(values) - sum(count for _, count in named)
    return {name: share_of(count, len(values)) for name, count in [*named, *([(OTHERS, others)] if others else [])]}


def share_of(count: int, rows: int) -> Estimate:
    """A share with Wilson's interval, which holds for few rows too (Wilson 1927)."""
    share, z2 = count / rows, Z * Z
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = Z / (1 + z2 / rows) * math.sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def probability_metrics(labels: np.ndarray, scores: np.ndarray) -> Mapping[str, Estimate]:
    """AUC, and log loss if all scores are from 0 to 1, of scores for labels that are true or false."""
    metrics: dict[str, Estimate] = {}
    if (auc := auc_of(labels, scores)) is not None:
        metrics["auc"] = auc
    if len(scores) and scores.min() >= 0 and scores.max() <= 1:
        # As scikit-learn does, so that one wrong certainty does not make it infinite.
        eps = float(np.finfo(np.float64).eps)
        likely = np.clip(scores, eps, 1 - eps)
        loss = mean_of(-np.where(labels, np.log(likely), np.log1p(-likely)))
        if loss is not None:
            metrics["log_loss"] = loss
    return metrics


def auc_of(labels: np.ndarray, scores: np.ndarray) -> Estimate | None:
    """The area under the ROC curve with DeLong's variance (1988), by ranks; None without both labels."""
    true, false = scores[labels], scores[~labels]
    if not len(true) or not len(false):
        return None
    ranks = _ranks(scores)
    # How much of the other class each row is above, ties half.
    above_false = (ranks[labels] - _ranks(true)) / len(false)
    below_true = 1 - (ranks[~labels] - _ranks(false)) / len(true)
    auc = float(above_false.mean())
    if len(true) < 2 or len(false) < 2:
        return Estimate(auc, None, None)
    half = Z * math.sqrt(float(above_false.var(ddof=1)) / len(true) + float(below_true.var(ddof=1)) / len(false))
    return Estimate(auc, max(0.0, auc - half), min(1.0, auc + half))


def number_metrics(labels: np.ndarray, values: np.ndarray) -> Mapping[str, Estimate]:
    """Mean absolute error, and root mean squared error by the delta method."""
    errors = values - labels
    absolute, squared = mean_of(np.abs(errors)), mean_of(errors * errors)
    if absolute is None or squared is None:
        return {}
    root = math.sqrt(squared.value)
    if squared.high is None or root == 0:
        return {"mae": absolute, "rmse": Estimate(root, None, None)}
    half = (squared.high - squared.value) / (2 * root)
    return {"mae": absolute, "rmse": Estimate(root, max(0.0, root - half), root + half)}


def class_metrics(labels: Sequence[Any], classes: Sequence[Any]) -> Mapping[str, Estimate]:
    """The share of rows whose class is the label."""
    return {"accuracy": share_of(sum(map(_same, labels, classes)), len(labels))} if labels else {}


def _same(label: Any, predicted: Any) -> bool:
    return bool(label == predicted) or str(label).lower() == str(predicted).lower()


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, ties the middle of theirs."""
    return pd.Series(values).rank(method="average").to_numpy()
