"""`doctor` reports an S3 warehouse that is unavailable or has no bucket, and an MLflow that does not respond."""

import json
from pathlib import Path

import pytest

from tests import s3
from tests.cli.running import run


@pytest.mark.slow
def test_a_warehouse_on_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with s3.server() as endpoint:
        monkeypatch.setenv("FEATURESTORE_CATALOG", json.dumps(s3.connection(endpoint, tmp_path)))
        monkeypatch.setenv("FEATURESTORE_WAREHOUSE", "s3://lake/doctor")
        done = run("doctor")
        assert done.exit_code == 0, done.stdout
        assert s3.stored_names(endpoint, "lake/doctor") == set(), "the probe is gone"
        monkeypatch.setenv("FEATURESTORE_WAREHOUSE", "s3://nowhere/doctor")
        missing = run("doctor")
        assert (missing.exit_code, "no bucket nowhere" in missing.stdout) == (1, True), missing.stdout
        monkeypatch.setenv("FEATURESTORE_WAREHOUSE", "s3://lake/doctor")
    closed = run("doctor")
    assert closed.exit_code == 1
    assert any(line.startswith("✗") and "warehouse" in line for line in closed.stdout.splitlines()), closed.stdout


def test_an_mlflow_that_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATURESTORE_MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    done = run("doctor")
    assert done.exit_code == 1
    assert any(line.startswith("✗") and "mlflow" in line for line in done.stdout.splitlines()), done.stdout
