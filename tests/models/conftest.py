"""Fixtures: one store with models for all tests, because MLflow's database takes a second to create."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models.vendor import mlflow  # isort: skip - before anything else imports it
from featurestore import models
from featurestore.models.mlflow_access import tracking
from tests.models import worlds
from tests.models.worlds import World

FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here are slow: together they take a quarter of the time of the others that are not."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A store, a training set, a model; read only, but for models logged."""
    made = worlds.build(tmp_path_factory.mktemp("shop"))
    with made.store:
        yield made


@pytest.fixture(autouse=True)
def elsewhere(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory without settings, and MLflow at the world's own database."""
    monkeypatch.chdir(tmp_path)
    tracking.use_tracking(world.store.settings)
    yield
    while mlflow.active_run() is not None:
        mlflow.end_run()


@pytest.fixture(scope="session")
def logged(world: World) -> Any:
    """MLflow's ModelInfo of the world's model, logged and registered as churn version 1."""
    return models.log_model(
        world.model, training_set=world.training_set, name="churn", registered_model_name="churn", metrics={"auc": 0.75}
    )
