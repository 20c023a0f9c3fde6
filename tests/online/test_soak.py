"""A server under load, while runs are published and a new version is applied: `benchmarks/soak.py` for a few seconds."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_answers_under_load_are_of_one_run_each() -> None:
    options = ["--seconds", "3", "--rate", "100", "--no-model", "--online", "redis"]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.soak", *options]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=200)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    assert "services seen in versions [1, 2]" in ran.stdout
    assert "NOT AS PROMISED" not in ran.stdout
