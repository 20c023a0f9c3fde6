"""Brief predictions of models that only compute run in the event loop; all others keep to the threads of predictions."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.tree import DecisionTreeRegressor

from tests.models.vendor import VENDOR_WARNINGS  # isort: skip - before anything else imports MLflow

from featurestore import FeatureService, models
from featurestore.models.prediction_log import spool
from featurestore.models.prediction_log.log import spool_path
from featurestore.models.serving.loaded_model import LoadedModel
from featurestore.server.models import pace
from featurestore.server.models.pace import BRIEF_COUNT, BRIEF_ROWS, Pace
from tests import shop
from tests.online.redis.redis_server import empty_store, running_redis
from tests.server.conftest import Served, serve

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]
simple = FeatureService("simple", features=[shop.customer_orders], request={"basket": "double"})


class Own(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that is not scikit-learn's."""

    def fit(self, rows: Any, label: Any) -> "Own":
        self.fitted_ = True
        return self

    def predict(self, rows: Any) -> Any:
        return [0.5] * len(rows)


class Code(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    def predict(self, model_input: pd.DataFrame, params: Any = None) -> Any:
        return [0.5] * len(model_input)


@contextmanager
def serving(home: Path, **settings: Any) -> Iterator[Served]:
    """A server of models by name: `tree`, `own` and `code` of a service without derived features, and `derived` of one with."""
    with shop.open_shop(home, **settings) as store:
        store.apply([*shop.DEFINITIONS, simple])
        rows = pd.DataFrame({"spend_30d": [80.0, 0.0, 7.0], "basket": [40.0, 1.0, 40.0]})
        tree, label = DecisionTreeRegressor(), [80.0, 0.0, 7.0]
        by_service = {
            "simple": {"tree": tree.fit(rows, label), "own": Own().fit(rows, label), "code": Code()},
            "churn": {"derived": tree},
        }
        for service, named in by_service.items():
            made = store.training_set(service, shop.spine(), timestamp="asked_at", label="churned")
            for name, native in named.items():
                options: dict[str, Any] = {"inputs": ["spend_30d", "basket"]} if name in ("own", "code") else {}
                models.log_model(native, training_set=made, registered_model_name=name, store=store, pip_requirements=[], **options)
        with serve(store) as served:
            yield served


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("local")) as served:
        yield served


@pytest.fixture
def threads_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Sends predictions, and returns the name of the thread that each ran in."""
    finish, seen = LoadedModel.finish, list[str]()

    def note(self: LoadedModel, *arguments: Any, **more: Any) -> Any:
        seen.append(threading.current_thread().name)
        return finish(self, *arguments, **more)

    monkeypatch.setattr(LoadedModel, "finish", note)
    # What a busy machine does to the time of a thread is not to be tested here.
    monkeypatch.setattr(pace, "BRIEF_SECONDS", 10.0)
    monkeypatch.setattr(pace, "PATIENCE_SECONDS", 60.0)

    def send(served: Served, model: str, count: int, records: int = 1) -> list[str]:
        seen.clear()
        body = {"dataframe_records": [{"customer_id": 1, "basket": 40.0}] * records}
        answers = [served.http.post(f"/v1/models/{model}/invocations", json=body) for _ in range(count)]
        assert [answer.status_code for answer in answers] == [200] * count, answers[0].text
        assert len({answer.json()["predictions"][0] for answer in answers}) == 1
        return list(seen)

    return send


def test_a_model_that_only_computes_moves_into_the_event_loop(local: Served, threads_of: Callable[..., list[str]]) -> None:
    seen = threads_of(local, "tree", BRIEF_COUNT + 3)
    assert seen[:BRIEF_COUNT] == ["predictions"] * BRIEF_COUNT
    assert "predictions" not in seen[BRIEF_COUNT:]
    assert len(set(seen[BRIEF_COUNT:])) == 1
    assert threads_of(local, "tree", 2, BRIEF_ROWS + 1) == ["predictions"] * 2, "more rows take longer"
    assert "predictions" not in threads_of(local, "tree", 1), "and do not count"


@pytest.mark.parametrize("model", ["own", "code", "derived"])
def test_code_of_others_and_sql_keep_to_threads(local: Served, threads_of: Callable[..., list[str]], model: str) -> None:
    assert set(threads_of(local, model, BRIEF_COUNT + 3)) == {"predictions"}


def test_errors_are_the_same_in_the_event_loop(local: Served, threads_of: Callable[..., list[str]]) -> None:
    def refusals() -> list[tuple[int, Any]]:
        records: list[Any] = [{"basket": 1.0}, {"customer_id": "one", "basket": 1.0}, {"customer_id": 1, "basket": 1.0, "nobody": 1}]
        answers = [local.http.post("/v1/models/tree/invocations", json={"dataframe_records": [record]}) for record in records]
        return [(answer.status_code, answer.json()) for answer in answers]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pace, "is_brief", lambda *_: False)
        in_threads = refusals()
    threads_of(local, "tree", BRIEF_COUNT)
    assert refusals() == in_threads
    assert {status for status, _ in in_threads} == {400, 422}
    assert "predictions" not in threads_of(local, "tree", 1), "errors of a caller do not slow others"


def test_a_log_that_waits_for_the_disk_keeps_predictions_in_threads(tmp_path: Path, threads_of: Callable[..., list[str]]) -> None:
    with serving(tmp_path / "file", prediction_log="full", prediction_spool="fsync") as served:
        assert set(threads_of(served, "tree", BRIEF_COUNT + 3)) == {"predictions"}


def test_a_busy_log_delays_its_predictions_only(
    tmp_path: Path, threads_of: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of a busy machine, too, the file is free again before predictions give up.
    monkeypatch.setattr(spool, "WAIT_SECONDS", 60.0)
    with serving(tmp_path / "file", prediction_log="full", prediction_spool="file", prediction_log_seconds=3600) as served:
        assert "predictions" not in threads_of(served, "tree", BRIEF_COUNT + 1)[-1:]
        path = spool_path(served.store.settings)
        with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor() as pool:
            other.execute("BEGIN IMMEDIATE")
            predicting = pool.submit(threads_of, served, "tree", 1)
            for _ in range(20):
                assert served.http.get("/healthz").status_code == 200
            (before,) = other.execute("SELECT count(*) FROM requests").fetchone()
            assert not predicting.done(), "it is logged before it is answered"
            other.execute("COMMIT")
            assert "predictions" not in predicting.result()
            assert other.execute("SELECT count(*) FROM requests").fetchone() == (before + 1,)


def test_a_store_over_the_network_keeps_predictions_in_threads(tmp_path: Path, threads_of: Callable[..., list[str]]) -> None:
    with running_redis(tmp_path) as redis, empty_store(redis) as url, serving(tmp_path / "redis", online=url) as served:
        assert set(threads_of(served, "tree", BRIEF_COUNT + 3)) == {"predictions"}


class Computing:
    only_computes = True


def test_a_slow_prediction_sends_a_model_back_to_threads() -> None:
    counted, model = Pace(), Computing()
    named: Any = model
    for _ in range(BRIEF_COUNT):
        assert not counted.is_brief(named, 1)
        with counted.measure(named, 1):
            pass
    assert counted.is_brief(named, BRIEF_ROWS)
    assert not counted.is_brief(named, BRIEF_ROWS + 1)
    until = time.thread_time() + 2 * pace.BRIEF_SECONDS
    with counted.measure(named, 1):
        while time.thread_time() < until:
            pass
    assert not counted.is_brief(named, 1)
