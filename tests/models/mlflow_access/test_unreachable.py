"""An MLflow that is down, or hangs: errors within seconds that say what to do, and what was known goes on."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from featurestore import models
from featurestore.errors import NotReady
from featurestore.models.mlflow_access import health, time_limits
from featurestore.models.mlflow_access.time_limits import RETRIES, TIMEOUT, limit_time
from tests.models.mlflow_access.silence import closed_address, silent_server
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


@pytest.fixture(params=["hangs", "down"])
def unreachable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an MLflow that does not answer, in use, with limits of a second."""
    monkeypatch.setattr(health, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setenv(TIMEOUT, "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    with silent_server() as hanging:
        address = hanging if request.param == "hangs" else closed_address()
        mlflow.set_tracking_uri(address)
        try:
            yield address
        finally:
            mlflow.set_tracking_uri(before)


def test_logging_fails_and_says_what_to_do(world: World, unreachable: str) -> None:
    with pytest.raises(NotReady) as refused:
        models.log_model(world.model, training_set=world.training_set)
    assert f"MLflow at {unreachable} did not respond, so the model was not logged" in str(refused.value)
    assert f"The training set {world.training_set.id} stays" in str(refused.value)
    assert "models.attach(" in str(refused.value)
    assert world.store.get_training_set(world.training_set.id).digest == world.training_set.digest


def test_what_is_recorded_is_listed(world: World, logged: Any, unreachable: str, caplog: pytest.LogCaptureFixture) -> None:
    assert "churn" in {model.model for model in world.store.models()}
    assert "models are listed as they were when MLflow last responded" in caplog.text


def test_other_verbs_fail_too(world: World, unreachable: str) -> None:
    for verb in (
        lambda: models.set_alias("churn", "champion", 1, store=world.store),
        lambda: models.trained_on("customer_orders_v1", 1, store=world.store),
        lambda: models.score("models:/churn/1", [], store=world.store),
        lambda: models.attach("models:/churn/1", training_set=world.training_set),
        lambda: world.store.rebuild("models:/churn/1"),
        lambda: models.LoadedModels(world.store).get("churn"),
    ):
        with pytest.raises(NotReady):
            verb()


def test_limits_end_with_their_context_and_the_users_own_go_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TIMEOUT, *RETRIES):
        monkeypatch.delenv(name, raising=False)
    with limit_time():
        assert os.environ[TIMEOUT] == str(time_limits.ASK_SECONDS)
        with limit_time(time_limits.TRANSFER_SECONDS):
            assert os.environ[TIMEOUT] == str(time_limits.TRANSFER_SECONDS)
        assert os.environ[TIMEOUT] == str(time_limits.ASK_SECONDS)
    assert TIMEOUT not in os.environ
    monkeypatch.setenv(TIMEOUT, "77")
    with limit_time():
        assert os.environ[TIMEOUT] == "77"
    assert os.environ[TIMEOUT] == "77"
