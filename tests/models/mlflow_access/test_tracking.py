"""The choice of the MLflow server, and that MLflow is imported only if it is used."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from featurestore.errors import Conflict
from featurestore.models.mlflow_access import location, tracking
from featurestore.settings import Settings
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


@pytest.fixture(autouse=True)
def _unchosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process without MLflow settings and without a run."""
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(None)
    monkeypatch.setattr(mlflow, "last_active_run", lambda: None)
    yield
    mlflow.set_tracking_uri(before)


def test_the_settings_go_before_all(tmp_path: Path) -> None:
    mlflow.set_tracking_uri("http://mlflow:5000")
    tracking.use_tracking(Settings(home=tmp_path, mlflow_tracking_uri="http://other:5000"))
    assert mlflow.get_tracking_uri() == "http://other:5000"


def test_what_the_settings_of_one_store_say_is_no_choice_for_another(tmp_path: Path) -> None:
    tracking.use_tracking(Settings(home=tmp_path, mlflow_tracking_uri="http://one:5000"))
    other = Settings(home=tmp_path / "other")
    assert location.tracking_uri(other) is None
    tracking.use_tracking(other)
    assert mlflow.get_tracking_uri() == location.tracking_uri(other) == location.default_uri(other)


def test_then_what_mlflow_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    tracking.use_tracking(Settings(home=tmp_path))
    assert mlflow.get_tracking_uri() == "http://mlflow:5000"


@pytest.mark.slow
def test_then_a_database_in_the_home_which_is_no_choice_for_other_stores(world: World, tmp_path: Path) -> None:
    tracking.use_tracking(world.store.settings)
    assert mlflow.get_tracking_uri() == f"sqlite:///{world.home}/featurestore-mlflow.db"
    tracking.use_tracking(None)
    assert mlflow.get_tracking_uri() == f"sqlite:///{world.home}/featurestore-mlflow.db"
    tracking.use_tracking(Settings(home=tmp_path / "other"))
    assert mlflow.get_tracking_uri() == f"sqlite:///{tmp_path}/other/featurestore-mlflow.db"
    assert mlflow.get_experiment("0").artifact_location == (tmp_path / "other" / "mlflow-artifacts" / "0").as_uri()
    assert not (tmp_path / "mlruns").exists()


def test_a_run_that_goes_on_keeps_its_server(world: World, tmp_path: Path) -> None:
    tracking.use_tracking(world.store.settings)
    with mlflow.start_run():
        tracking.use_tracking(Settings(home=tmp_path / "other"))
        assert mlflow.get_tracking_uri() == f"sqlite:///{world.home}/featurestore-mlflow.db"
        with pytest.raises(Conflict, match="a run is active"):
            tracking.use_tracking(Settings(home=tmp_path, mlflow_tracking_uri="http://other:5000"))


def test_a_run_made_before_keeps_its_server_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow, "last_active_run", lambda: "a run")
    tracking.use_tracking(Settings(home=tmp_path / "home"))
    assert not mlflow.is_tracking_uri_set()
    assert not (tmp_path / "home").exists()


def python(code: str) -> str:
    """What a new process prints."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_mlflow_is_imported_when_it_is_used() -> None:
    code = "import sys; from featurestore import FeatureStore, models; models.__all__; print('mlflow' in sys.modules)"
    assert python(code) == "False"


def test_without_mlflow_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["mlflow"] = None
from featurestore import models
try:
    models.log_model
except Exception as error:
    print(type(error).__name__, error)
"""
    assert python(code) == "MissingExtra this needs the package mlflow, which is not installed here: pip install 'featurestore[mlflow]'"


def test_threads_that_come_first_find_a_whole_database(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")

    def count_experiments(_: int) -> int:
        return len(mlflow.MlflowClient(tracking._default_uri(settings)).search_experiments())

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(count_experiments, range(8))) == [1] * 8
    assert {path.name for path in (tmp_path / "home").iterdir()} == {tracking.ARTIFACTS, location.DATABASE}


def test_a_database_that_another_process_creates_meanwhile_stays(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    uri = tracking._default_uri(settings)
    client = mlflow.MlflowClient(uri)
    client.create_experiment("theirs")
    tracking._create_database(tmp_path / "home" / location.DATABASE)
    assert {experiment.name for experiment in client.search_experiments()} == {"Default", "theirs"}
