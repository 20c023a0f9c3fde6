"""The MLproject file runs: it logs a model of the demo with the parameters that it was given, in the run that MLflow made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from featurestore.demo import learning, spine
from tests.models.vendor import VENDOR_WARNINGS, mlflow

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def test_it_runs_with_its_parameters(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("FEATURESTORE_", "MLFLOW_"))}
    variables = {**ours, "PATH": path, "MLFLOW_TRACKING_URI": address, "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(ROOT)}
    given = {"home": str(tmp_path / "home"), "iterations": "5", "name": "late"}
    parameters = [part for name, value in given.items() for part in ("-P", f"{name}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "--env-manager", "local", *parameters]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    client = mlflow.MlflowClient(address)
    version = client.get_model_version("late", "1")
    run = client.get_run(version.run_id)
    assert run.data.params == given
    assert run.data.tags["mlflow.project.entryPoint"] == "main"
    assert 0.6 < run.data.metrics["holdout_auc"] < 0.8
    assert version.tags["featurestore.training_set"].startswith(f"{spine.SERVICE}-")
    assert learning.ITERATIONS != 5
