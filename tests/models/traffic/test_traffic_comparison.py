"""Arms are compared as a brute-force computation on the logged rows says; labels are matched as a loop over them does."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error, roc_auc_score

from featurestore import FeatureStore, models
from featurestore.errors import NotFound, RequestError, TypeMismatch
from featurestore.models import LoadedModel
from featurestore.models.prediction_log.log import PredictionLog
from featurestore.models.traffic import arm_metrics
from featurestore.models.traffic.labels import match_labels
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS

START = datetime(2026, 5, 1, tzinfo=UTC)
Z = 1.959963984540054


@pytest.fixture(scope="module")
def logged(world: World) -> Iterator[FeatureStore]:
    """A store with the predictions of two versions: of probabilities as champion, and of classes, answered and as a shadow."""
    options: dict[str, Any] = {"training_set": world.training_set, "name": "arms", "registered_model_name": "arms"}
    models.log_model(world.model, **options, pyfunc_predict_fn="predict_proba")
    models.log_model(world.model, **options)
    settings = world.store.settings.model_copy(update={"prediction_log": "full"})
    with FeatureStore(settings=settings) as store:
        versions = [LoadedModel(f"models:/arms/{number}", store, "arms", str(number)) for number in (1, 2)]
        log = PredictionLog(store)
        for number in range(40):
            rows = [{"customer_id": number, "basket": 10.0 * number, "asked_at": "2026-03-25T00:00:00Z"}]
            log.record(versions[0].finish(rows), f"r{number}", arm="champion", rows=[0])
            if number % 2:
                log.record(versions[1].finish(rows), f"r{number}", arm="challenger", shadow=True, rows=[0])
            if number % 10 == 0:
                log.record(versions[1].finish(rows), f"s{number}")
        yield store


def log_rows(store: FeatureStore) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.catalog.load_table("inference.arms").scan().to_arrow().to_pylist()
    return rows


def test_arms_are_counted_and_summarized(logged: FeatureStore) -> None:
    comparison = logged.compare_traffic("arms")
    assert [(arm.arm, arm.version, arm.shadow, arm.rows) for arm in comparison.arms] == [
        (None, "2", False, 4),
        ("champion", "1", False, 40),
        ("challenger", "2", True, 20),
    ]
    rows = log_rows(logged)
    likely = [row["prediction"][1] for row in rows if row["arm"] == "champion"]
    champion = comparison.arms[1]
    assert champion.mean is not None
    assert champion.mean.value == pytest.approx(sum(likely) / 40)
    spread = math.sqrt(sum((value - champion.mean.value) ** 2 for value in likely) / 39 / 40)
    assert (champion.mean.low, champion.mean.high) == pytest.approx((champion.mean.value - Z * spread, champion.mean.value + Z * spread))
    assert champion.quantiles == pytest.approx({f"{at:g}": float(np.quantile(likely, at)) for at in (0.05, 0.25, 0.5, 0.75, 0.95)})
    assert champion.shares == {}
    shadow = comparison.arms[2]
    column = next(name for name in rows[0] if name.startswith("prediction_"))
    yes = sum(bool(row[column]) for row in rows if row["shadow"])
    assert {name: share.value for name, share in shadow.shares.items() if share.value} == {
        name: share for name, share in (("true", yes / 20), ("false", 1 - yes / 20)) if share
    }
    assert (comparison.labels, shadow.labeled, shadow.metrics, comparison.confidence) == (None, 0, {}, 0.95)
    assert champion.first == min(row["predicted_at"] for row in rows if row["arm"] == "champion")
    later = logged.compare_traffic("arms", since=champion.last)
    assert sum(arm.rows for arm in later.arms) == sum(row["predicted_at"] >= champion.last for row in rows) < 44


def test_metrics_are_those_of_scikit_learn(logged: FeatureStore) -> None:
    dice = random.Random(3)
    by_request = [{"request_id": f"r{number}", "bought": dice.random() < 0.5, "spent": 100 * dice.random()} for number in range(30)]
    arms = {(arm.arm, arm.shadow): arm for arm in logged.compare_traffic("arms", labels=by_request, label="bought").arms}
    rows = {(row["request_id"], row["shadow"]): row for row in log_rows(logged)}
    labels = [row["bought"] for row in by_request]
    likely = [rows[row["request_id"], False]["prediction"][1] for row in by_request]
    champion = arms["champion", False]
    assert champion.labeled == 30
    assert champion.metrics["auc"].value == pytest.approx(roc_auc_score(labels, likely))
    assert champion.metrics["log_loss"].value == pytest.approx(log_loss(labels, likely))
    assert arms[None, False].labeled == 0
    column = next(name for name in rows["r0", False] if name.startswith("prediction_"))
    right = [rows[row["request_id"], True][column] == row["bought"] for row in by_request if (row["request_id"], True) in rows]
    assert arms["challenger", True].metrics["accuracy"].value == pytest.approx(sum(right) / 15)
    numbers = logged.compare_traffic("arms", labels=by_request, label="spent").arms[1].metrics
    spent = [row["spent"] for row in by_request]
    assert numbers["mae"].value == pytest.approx(mean_absolute_error(spent, likely))
    assert numbers["rmse"].value == pytest.approx(math.sqrt(mean_squared_error(spent, likely)))


def test_labels_in_a_table_and_in_sql(logged: FeatureStore) -> None:
    at = datetime.now(UTC) + timedelta(days=1)
    rows = pa.table(
        {
            "customer_id": pa.array([*range(10), 3], pa.int32()),
            "churned": pa.array([key % 3 == 0 for key in range(10)] + [True]),
            "at": pa.array([at] * 10 + [at + timedelta(days=1)], pa.timestamp("us", tz="UTC")),
        }
    )
    logged.catalog.create_table("shop.outcomes", schema=rows.schema).append(rows)
    comparison = logged.compare_traffic("arms", labels="iceberg:shop.outcomes", label="churned", timestamp="at")
    assert comparison.labels == "by customer_id: the first label at or after the prediction, by at"
    assert [arm.labeled for arm in comparison.arms] == [1, 10, 5]
    assert set(comparison.arms[1].metrics) == {"auc", "log_loss"}
    query = "SELECT customer_id, max(churned) AS churned FROM shop.outcomes GROUP BY customer_id"
    assert [arm.labeled for arm in logged.compare_traffic("arms", labels=query, label="churned").arms] == [1, 10, 5]
    with pytest.raises(RequestError, match="several labels of customer_id=3; give timestamp="):
        logged.compare_traffic("arms", labels="iceberg:shop.outcomes", label="churned")
    with pytest.raises(TypeMismatch, match="timestamp: the column 'churned' of the labels is bool"):
        logged.compare_traffic("arms", labels="iceberg:shop.outcomes", label="churned", timestamp="churned")
    with pytest.raises(RequestError, match="did you mean 'churned'"):
        logged.compare_traffic("arms", labels="iceberg:shop.outcomes", label="churn")
    with pytest.raises(RequestError, match="give the name of the column"):
        logged.compare_traffic("arms", labels="iceberg:shop.outcomes")
    with pytest.raises(RequestError, match="which is missing"):
        logged.compare_traffic("arms", label="churned")
    with pytest.raises(NotFound, match="did you mean 'arms'"):
        logged.compare_traffic("armss")


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_matched_as_by_a_loop(seed: int) -> None:
    dice = random.Random(seed)
    asked = [(dice.choice([None, 1, 2]), dice.choice(["x", "y", None]), dice.randrange(20)) for _ in range(12)]
    known = [(dice.choice([None, 1, 2]), dice.choice(["x", "y"]), dice.randrange(20), dice.choice([None, 0.5, 1.5])) for _ in range(12)]

    def moments(hours: list[int]) -> pa.Array:
        return pa.array([START + timedelta(hours=hour) for hour in hours], pa.timestamp("us", tz="UTC"))

    predictions = {
        "a": pa.chunked_array([[row[0] for row in asked]], pa.int64()),
        "b": pa.chunked_array([[row[1] for row in asked]], pa.string()),
        "predicted_at": pa.chunked_array([moments([row[2] for row in asked])]),
    }
    labels = pa.table(
        {
            "a": pa.array([row[0] for row in known], pa.int16()),
            "b": [row[1] for row in known],
            "at": moments([row[2] for row in known]),
            "label": pa.array([row[3] for row in known], pa.float64()),
        }
    )
    matched, _ = match_labels(predictions, ["a", "b"], labels, "label", "at")
    for (a, b, at), label in zip(asked, matched.to_pylist(), strict=True):
        fitting = [row for row in known if (row[0], row[1]) == (a, b) and None not in (a, b, row[3]) and row[2] >= at]
        first = min((row[2] for row in fitting), default=None)
        # Of several at the same time, any.
        assert label in ({row[3] for row in fitting if row[2] == first} or {None})


@pytest.mark.parametrize("seed", range(10))
def test_the_interval_of_auc_is_that_of_delong(seed: int) -> None:
    dice = random.Random(seed)
    labels = np.array([True, True, False, False, *(dice.random() < 0.4 for _ in range(26))])
    scores = np.array([round(dice.random(), 1) for _ in labels])
    true, false = scores[labels], scores[~labels]
    wins = [[1.0 if one > other else 0.5 if one == other else 0.0 for other in false] for one in true]
    above, below = [sum(row) / len(false) for row in wins], [sum(column) / len(true) for column in zip(*wins, strict=True)]
    auc = arm_metrics.auc_of(labels, scores)
    assert auc is not None
    assert auc.value == pytest.approx(roc_auc_score(labels, scores)) == pytest.approx(sum(above) / len(above))
    half = Z * math.sqrt(np.var(above, ddof=1) / len(true) + np.var(below, ddof=1) / len(false))
    assert (auc.low, auc.high) == pytest.approx((max(0.0, auc.value - half), min(1.0, auc.value + half)))


def test_few_rows_have_no_interval() -> None:
    assert arm_metrics.mean_of(np.array([])) is None
    one = arm_metrics.mean_of(np.array([2.0]))
    assert one is not None
    assert (one.value, one.low, one.high) == (2.0, None, None)
    assert arm_metrics.auc_of(np.array([True, True]), np.array([0.1, 0.2])) is None
    assert arm_metrics.share_of(0, 10).low == pytest.approx(0.0, abs=1e-12)
    assert 0.2 < (arm_metrics.share_of(0, 10).high or 0.0) < 0.3
    assert arm_metrics.number_metrics(np.array([1.0, 2.0]), np.array([1.0, 2.0]))["rmse"].value == 0.0
