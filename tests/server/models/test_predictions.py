"""Models that never end or raise any exception: their callers get an error, and other requests are not affected."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel  # isort: skip - before anything else imports MLflow

from featurestore import models
from featurestore.errors import ModelError
from featurestore.server.predictions import Threads
from tests import shop
from tests.server.conftest import Served, serve
from tests.server.test_errors import error_of
from tests.waiting import rounds_until_done, wait_until

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

ENDED = threading.Event()
ENDLESS, RAISING, LEAVING, ODD = 0.0, -1.0, -2.0, -3.0
"""Baskets for which the model never ends, raises, calls exit, and returns a value that is not JSON."""
SECONDS = 1.0


class Silent(Exception):
    """An exception whose message cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


RAISED: dict[float, BaseException] = {
    -10.0: KeyboardInterrupt("secret"),
    -11.0: asyncio.CancelledError("secret"),
    -12.0: GeneratorExit("secret"),
    -13.0: BaseException("secret"),
    -14.0: StopIteration("secret"),
    -15.0: Silent("secret"),
    -16.0: ConnectionError("c"),
    -17.0: TimeoutError("the model"),
}
"""What the model raises for other baskets."""
RETURNED: dict[float, tuple[Any, list[Any] | None]] = {
    -20.0: ([pd.NaT], [None]),
    -21.0: (np.array([2**63], np.uint64), [2**63]),
    -22.0: ({"a": [1]}, [1]),
    -23.0: ([2**64], None),
    -24.0: (None, None),
    -25.0: (1.5, None),
    -26.0: ({"a": 1}, None),
}
"""What it returns for others, and the predictions in the answer; None: an error."""


class Unsteady(PythonModel):  # type: ignore[misc]
    """A model that does what its first basket says."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """Ones, some day."""
        basket = model_input["basket"].iloc[0]
        while basket == ENDLESS and not ENDED.is_set():
            pass
        if basket == RAISING:
            raise RuntimeError("secret of the model")
        if basket == LEAVING:
            raise SystemExit(1)
        if basket in RAISED:
            raise RAISED[basket]
        if basket in RETURNED:
            predictions: list[Any] = RETURNED[basket][0]
            return predictions
        return [object() if basket == ODD else 1.0] * len(model_input)


@pytest.fixture(scope="module")
def unsteady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the model with short time limits."""
    limits = {"predict_seconds": SECONDS, "predict_workers": 2, "predict_queue": 2}
    with shop.open_shop(tmp_path_factory.mktemp("shop"), **limits) as store, serve(store) as served:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        models.log_model(
            Unsteady(), training_set=made, registered_model_name="unsteady", store=store, inputs=["basket"], pip_requirements=["mlflow"]
        )
        try:
            yield served
        finally:
            ENDED.set()


def ask(served: Served, basket: float) -> httpx.Response:
    record = {"customer_id": 1, "basket": basket}
    return httpx.post(f"{served.url}/v1/models/unsteady/invocations", json={"dataframe_records": [record]}, timeout=60)


@pytest.mark.parametrize("basket", [RAISING, LEAVING, ODD])
def test_an_error_of_a_model_is_reported_without_its_message(unsteady: Served, basket: float) -> None:
    assert ask(unsteady, 1.0).json()["predictions"] == [1.0]
    error = error_of(ask(unsteady, basket), 422, "ModelError")
    assert "the model" in error["message"]
    assert "secret" not in error["message"]


@pytest.mark.parametrize("basket", RAISED, ids=[type(error).__name__ for error in RAISED.values()])
def test_whatever_a_model_raises_is_an_error_of_the_model(unsteady: Served, basket: float) -> None:
    error = error_of(ask(unsteady, basket), 422, "ModelError")
    assert error["message"] in (
        "the model raised an error for these rows; check their values, and which values the model accepts",
        "the model raised KeyboardInterrupt, which no model should raise",
    )
    assert ask(unsteady, 1.0).json()["predictions"] == [1.0]


@pytest.mark.parametrize("basket", RETURNED)
def test_what_a_model_returns_is_one_prediction_for_each_row(unsteady: Served, basket: float) -> None:
    expected = RETURNED[basket][1]
    if expected is None:
        assert "its predict must return one prediction for each row" in error_of(ask(unsteady, basket), 422, "ModelError")["message"]
    else:
        assert ask(unsteady, basket).json()["predictions"] == expected


def test_what_a_load_raises_reaches_its_caller() -> None:
    """A future refuses a StopIteration, and KeyboardInterrupt would end the thread."""

    async def run(raised: BaseException) -> Any:
        def load() -> None:
            raise raised

        threads = Threads()
        try:
            return await asyncio.wait_for(threads.start(load), 10)
        finally:
            threads.close()

    for raised in (StopIteration("s"), KeyboardInterrupt("k"), SystemExit(1), Silent()):
        with pytest.raises(Silent if isinstance(raised, Silent) else ModelError):
            asyncio.run(run(raised))


def test_a_model_that_never_ends_does_not_delay_others(unsteady: Served) -> None:
    assert ask(unsteady, 1.0).is_success
    ENDED.clear()
    lookup = {"entities": [{"customer_id": 1}]}
    probes = [("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/metrics", None), ("POST", "/v1/services/plain/online", lookup)]
    rounds = 0
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, unsteady, ENDLESS) for _ in range(6)]
        for number in rounds_until_done(asked):
            for method, path, body in probes:
                assert unsteady.http.request(method, path, json=body).is_success
            rounds = number
    answers = [request.result() for request in asked]
    assert sorted(answer.json()["error"]["type"] for answer in answers) == ["Busy"] * 4 + ["Timeout"] * 2
    assert {answer.status_code for answer in answers} == {503}
    told = next(answer.json()["error"]["message"] for answer in answers if answer.json()["error"]["type"] == "Timeout")
    assert "model unsteady took longer than 1 s" in told
    assert "predict_seconds" in told
    # Both places are still taken; then there is room again.
    error_of(ask(unsteady, 1.0), 503, "Busy")
    ENDED.set()
    wait_until(lambda: ask(unsteady, 1.0).is_success, 10)
    # Had one of them waited for the model, which takes a second to be given up, the first round had been the last.
    assert rounds > 2
