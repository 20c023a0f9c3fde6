"""The demo and its MLproject file: every row is correct, the naive join is too good to be true, and a run has its parameters."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from featurestore import FeatureStore
from featurestore.demo import learning, main, spine, story
from featurestore.demo.narrator import Narrator
from featurestore.pipelines.training_sets.training_set import TrainingSet
from tests import flights_by_hand as by_hand
from tests.flights_by_hand import Asked
from tests.models.vendor import VENDOR_WARNINGS, mlflow

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Year:
    """The folder of a store with the year of flights, its training set, and what the steps up to it returned."""

    home: Path
    training: TrainingSet
    results: dict[str, Any]


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Year:
    home = tmp_path_factory.mktemp("demo") / "home"
    narrator, results = Narrator(Console(file=io.StringIO())), story.Results()
    with FeatureStore(home=home) as store:
        story.fill_lake(store, narrator, results)
        story.define(store, main.definitions(), narrator)
        story.materialize(store, narrator, results)
        training = story.build_training_set(store, narrator, results)
    return Year(home, training, results.values)


def test_every_row_and_feature_is_what_is_computed_without_the_store(year: Year) -> None:
    assert year.results["raw"]["raw.flights"]["rows"] == 336_776
    assert all(view["rows"] > 0 for view in year.results["materialized"].values())
    assert year.results["appended_again"] == 0
    assert year.results["training_set"]["rows"] == 327_346
    with FeatureStore(home=year.home) as store:
        rows: pa.Table = store.get_training_set(year.training.id).to_arrow()
        flights = store.catalog.load_table("raw.flights").scan().to_arrow().to_pandas()
    by_hand.same(rows, by_hand.demo(Asked(flights, rows.to_pandas())))


def test_the_naive_join_promises_what_the_point_in_time_join_does_not_need_to(year: Year) -> None:
    output, results = io.StringIO(), story.Results()
    with FeatureStore(home=year.home) as store:
        story.learn(store, store.get_training_set(year.training.id), Narrator(Console(file=output, width=100)), results)
    auc = results.values["auc"]
    assert 0.72 < auc["point_in_time"] < 0.80
    assert auc["naive_promised"] > 0.95
    assert auc["naive_delivered"] < auc["point_in_time"] - 0.05
    assert "the naive join promises" in output.getvalue()


def test_the_project_runs_with_its_parameters(year: Year, tmp_path: Path) -> None:
    """In the run that MLflow made, on the training set that is there."""
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FEATURESTORE_", "MLFLOW_"))}
    variables = {**ours, "PATH": path, "MLFLOW_TRACKING_URI": address, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(ROOT)}
    options = {"home": str(year.home), "iterations": "5", "name": "late"}
    parameters = [part for name, value in options.items() for part in ("-P", f"{name}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local", *parameters]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    client = mlflow.MlflowClient(address)
    version = client.get_model_version("late", "1")
    run = client.get_run(version.run_id)
    assert run.data.params == options
    assert run.data.tags["mlflow.project.entryPoint"] == "main"
    assert 0.6 < run.data.metrics["holdout_auc"] < 0.8
    assert version.tags["featurestore.training_set"] == year.training.id
    assert year.training.id.startswith(f"{spine.SERVICE}-")
    assert learning.ITERATIONS != 5
