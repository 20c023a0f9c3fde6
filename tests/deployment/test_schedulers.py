"""The examples for schedulers: their commands run, and where the scheduler is installed, it runs them."""

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, Settings
from tests import shop
from tests.cli.running import COMMAND, environment
from tests.deployment.programs import ROOT

DEPLOY = ROOT / "deploy"
DAG, ASSETS, CRONTAB = DEPLOY / "airflow" / "features_dag.py", DEPLOY / "dagster" / "features.py", DEPLOY / "cron" / "featurestore"
CRON_LINE = re.compile(r"([\d*]+) ([\d*]+) \* \* \*  featurestore  set -a; \. (\S+); (\S+) (.+) >>\S+ 2>&1")


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment of a scheduler's worker: the program on PATH, and the home folder of a store that was never materialized."""
    with FeatureStore(settings=Settings(home=tmp_path / "home")) as store:
        shop.add(store, "shop.orders", shop.order_rows())
        shop.add(store, "shop.profiles", shop.profile_rows())
        store.apply(shop.DEFINITIONS)
    program = tmp_path / "bin" / "featurestore"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {COMMAND[0]} {COMMAND[1]} "{COMMAND[2]}" "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return environment(FEATURESTORE_HOME=str(tmp_path / "home"), PATH=path)


def constants(file: Path) -> dict[str, Any]:
    """The values of the arguments and names in a file that are written out."""
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "bash_command" and isinstance(node.value, ast.Constant):
            found.setdefault(node.arg, []).append(node.value.value)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant | ast.Tuple):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


@pytest.mark.slow
def test_the_commands_of_the_dag_run(variables: dict[str, str], tmp_path: Path) -> None:
    written = constants(DAG)
    assert written["LEASE_HELD"] == constants(ASSETS)["LEASE_HELD"] == 3
    materialize, maintain = (
        json.loads(subprocess.run(command, shell=True, check=True, env=variables, capture_output=True, timeout=120).stdout)
        for command in written["bash_command"]
    )
    assert {run["view"] for run in materialize} == set(constants(ASSETS)["VIEWS"])
    assert "features.customer_orders_v1" in {table["table"] for table in maintain}


@pytest.mark.slow
def test_the_commands_of_the_crontab_run(variables: dict[str, str], tmp_path: Path) -> None:
    lines = [line for line in CRONTAB.read_text().splitlines() if line and not line.startswith("#") and "=" not in line.split()[0]]
    (tmp_path / "environment").write_text(f"FEATURESTORE_HOME={variables['FEATURESTORE_HOME']}\n")
    for line in lines:
        found = CRON_LINE.fullmatch(line)
        assert found is not None, line
        minute, hour, settings, program, arguments = found.groups()
        assert (0 <= int(minute) < 60, hour == "*" or 0 <= int(hour) < 24) == (True, True)
        command = f"set -a; . {tmp_path}/environment; featurestore {arguments} >>log 2>&1"
        assert (settings, program) == ("/etc/featurestore/environment", "/opt/featurestore/bin/featurestore")
        subprocess.run(["sh", "-c", command], check=True, cwd=tmp_path, env={**variables, "FEATURESTORE_HOME": ""}, timeout=120)
    assert '"customer_orders"' in (tmp_path / "log").read_text()
    assert len(lines) == 2


@pytest.mark.slow
def test_dagster_runs_its_assets(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    dagster = pytest.importorskip("dagster", reason="could not import 'dagster': pip install dagster")
    for name in ("FEATURESTORE_HOME", "PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, variables[name])
    made = runpy.run_path(str(ASSETS))
    done = dagster.materialize(made["assets"])
    assert done.success
    facts = done.asset_materializations_for_node("customer_orders")[0].metadata
    assert facts["rows_appended"].value > 0
    assert made["definitions"].resolve_job_def("features") is not None


@pytest.mark.slow
def test_airflow_loads_its_dags(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow", reason="could not import 'airflow': pip install apache-airflow")
    for name in ("FEATURESTORE_HOME", "PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, variables[name])
    loaded = subprocess.run([sys.executable, str(DAG)], capture_output=True, text=True, timeout=120, check=False)
    assert loaded.returncode == 0, loaded.stderr
