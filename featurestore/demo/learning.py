"""The model: gradient boosted trees, learnt on the first nine months, judged on the last three."""

from dataclasses import dataclass

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from featurestore.demo.spine import HOLD_OUT_FROM, LABEL


@dataclass(frozen=True)
class Trained:
    """A model, the columns it reads, how many rows it has seen, and its AUC on the rows held out."""

    model: HistGradientBoostingClassifier
    inputs: list[str]
    rows: int
    auc: float


def train(rows: pd.DataFrame, inputs: list[str]) -> Trained:
    """Fit on the flights scheduled before the hold-out begins. Trees take a NULL as it is: what is not known says something too."""
    seen = rows[rows["scheduled_at"] < pd.Timestamp(HOLD_OUT_FROM)]
    model = HistGradientBoostingClassifier(max_iter=150, random_state=0)
    model.fit(seen[inputs].astype("float64"), seen[LABEL].astype("bool"))
    return Trained(model, inputs, len(seen), auc(model, rows, inputs))


def auc(model: HistGradientBoostingClassifier, rows: pd.DataFrame, inputs: list[str]) -> float:
    """The chance that a late flight of the hold-out is ranked above a punctual one: 0.5 is guessing, 1 is knowing."""
    unseen = rows[rows["scheduled_at"] >= pd.Timestamp(HOLD_OUT_FROM)]
    scores = model.predict_proba(unseen[inputs].astype("float64"))[:, 1]
    return float(roc_auc_score(unseen[LABEL].astype("bool"), scores))
