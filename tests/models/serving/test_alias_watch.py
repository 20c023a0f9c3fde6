"""Aliases that move are noticed, their versions loaded in the background, and what they replace released."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pandas as pd
import pytest

from featurestore import FeatureStore, models
from featurestore.errors import NotFound
from featurestore.models import LoadedModels
from featurestore.models.registry import model_versions
from featurestore.models.registry.model_versions import RegisteredVersions
from featurestore.models.serving import alias_watch
from featurestore.models.serving.alias_watch import AliasWatch
from tests.models.mlflow_access.silence import silent_server
from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS

RECORD = {"customer_id": 3, "basket": 10.0, "asked_at": "2026-03-25T00:00:00Z"}
PATIENCE_SECONDS = 30


class Unloadable(PythonModel):  # type: ignore[misc]
    """A model that cannot be loaded."""

    def load_context(self, context: Any) -> None:
        """Fail."""
        raise RuntimeError("a file of the model's library is missing")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """Never called."""
        return [1.0] * len(model_input)


@pytest.fixture(scope="module")
def moving(world: World) -> str:
    """A registered model with two versions that can be loaded and one that cannot; the first is the champion."""
    for _ in range(2):
        models.log_model(world.model, training_set=world.training_set, registered_model_name="moving")
    models.log_model(Unloadable(), training_set=world.training_set, registered_model_name="moving", pip_requirements=["mlflow"])
    models.set_alias("moving", "champion", 1, store=world.store)
    return "moving"


@pytest.fixture
def followed(world: World) -> Iterator[LoadedModels]:
    """Models whose aliases are watched."""
    loaded = LoadedModels(world.store, followed=True)
    watch = AliasWatch(world.store, loaded)
    watch.start()
    yield loaded
    watch.stop()
    watch._thread.join(PATIENCE_SECONDS)


def wait_until(holds: Callable[[], bool]) -> None:
    """Look again and again, for as long as it may take on a busy machine."""
    for _ in range(PATIENCE_SECONDS * 20):
        if holds():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not happen")


def answering(loaded: LoadedModels, alias: str | None = None) -> str | None:
    """The version that answers a request now, without waiting for anything."""
    model = loaded.find_loaded("moving", alias=alias)
    return None if model is None else model.version


def test_a_moved_alias_is_taken_up_and_the_old_version_released(world: World, followed: LoadedModels, moving: str) -> None:
    first = followed.get(moving)
    flying, gone = first, weakref.ref(first)
    del first
    seen = []
    mlflow.MlflowClient().set_registered_model_alias(moving, "champion", "2")

    def moved() -> bool:
        seen.append(answering(followed))
        return seen[-1] == "2"

    wait_until(moved)
    assert set(seen) == {"1", "2"}
    assert len(flying.predict([RECORD]).predictions) == 1
    assert gone() is not None
    del flying
    gc.collect()
    assert gone() is None
    # By our own function, whose record is what is noticed.
    models.set_alias(moving, "champion", 1, store=world.store)
    wait_until(lambda: answering(followed) == "1")


def test_a_version_that_cannot_be_loaded_leaves_the_one_before(followed: LoadedModels, moving: str) -> None:
    followed.get(moving)
    followed.get(moving, alias="champion")
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(moving, "champion", "3")
    wait_until(lambda: len(followed.behind()) == 1)
    assert (answering(followed), answering(followed, "champion")) == ("1", "1")
    said = str(followed.behind()[0])
    assert said.startswith("moving@champion: version 3 cannot be loaded (")
    assert said.endswith("version 1 answers; see the log")
    client.set_registered_model_alias(moving, "champion", "1")
    wait_until(lambda: followed.behind() == [])
    assert answering(followed) == "1"


def test_an_alias_that_is_removed_is_an_error_and_one_that_is_set_is_found(followed: LoadedModels, moving: str) -> None:
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(moving, "candidate", "2")
    assert followed.get(moving, alias="candidate").version == "2"
    client.delete_registered_model_alias(moving, "candidate")

    def is_removed() -> bool:
        try:
            followed.find_loaded(moving, alias="candidate")
        except NotFound:
            return True
        return False

    wait_until(is_removed)
    client.set_registered_model_alias(moving, "candidate", "2")
    wait_until(lambda: not is_removed())
    client.delete_registered_model_alias(moving, "candidate")


def test_an_alias_removed_and_set_again_between_two_looks_is_found(world: World, moving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    present, absent = {"champion": "1", "candidate": "2"}, {"champion": "1"}
    # MLflow is asked while the alias is not there, and what the watch reads says before and after that it is.
    answers = iter([present, absent, present])
    monkeypatch.setattr(model_versions, "registered_versions", lambda name: RegisteredVersions(name, next(answers), None))
    loaded = LoadedModels(world.store, followed=True)
    assert loaded.known(moving).aliases == present
    for expected in (absent, present):
        loaded.refresh(moving, "the same", present)
        wait_until(lambda expected=expected: loaded.known(moving).aliases == expected)  # type: ignore[misc]


def test_two_processes_have_one_that_asks(world: World, followed: LoadedModels, moving: str) -> None:
    followed.get(moving)
    with FeatureStore(settings=world.store.settings) as store:
        other = LoadedModels(store, followed=True)
        watch = AliasWatch(store, other)
        watch.start()
        assert other.get(moving).version == "1"
        mlflow.MlflowClient().set_registered_model_alias(moving, "champion", "2")
        wait_until(lambda: answering(other) == answering(followed) == "2")
        assert watch._lock_file is None
        mlflow.MlflowClient().set_registered_model_alias(moving, "champion", "1")
        wait_until(lambda: answering(other) == answering(followed) == "1")
        watch.stop()
        watch._thread.join(PATIENCE_SECONDS)


def test_a_hung_mlflow_stops_nothing(world: World, moving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    loaded = LoadedModels(world.store, followed=True)
    watch = AliasWatch(world.store, loaded)
    loaded.get(moving)
    before = mlflow.get_tracking_uri()
    with silent_server() as address:
        mlflow.set_tracking_uri(address)
        try:
            watch.start()
            wait_until(lambda: watch._failing)
            assert answering(loaded) == "1"
        finally:
            mlflow.set_tracking_uri(before)
    mlflow.MlflowClient().set_registered_model_alias(moving, "champion", "2")
    wait_until(lambda: answering(loaded) == "2")
    mlflow.MlflowClient().set_registered_model_alias(moving, "champion", "1")
    watch.stop()
    watch._thread.join(PATIENCE_SECONDS)


def test_what_mlflow_says_is_taken_up_before_it_is_asked_again(world: World, moving: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alias_watch, "ASK_SECONDS", 3600.0)
    loaded = LoadedModels(world.store, followed=True)
    watch = AliasWatch(world.store, loaded)
    watch.start()

    def is_answered_by(version: str) -> bool:
        return answering(loaded) == version

    try:
        loaded.get(moving)
        # It asks by itself when it begins to watch; after that, only when it is told.
        for version in ("2", "1", "2"):
            mlflow.MlflowClient().set_registered_model_alias(moving, "champion", version)
            watch.hurry()
            wait_until(partial(is_answered_by, version))
    finally:
        mlflow.MlflowClient().set_registered_model_alias(moving, "champion", "1")
        watch.stop()
        watch._thread.join(PATIENCE_SECONDS)
