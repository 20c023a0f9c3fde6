"""Eight processes over one catalog, killed at random, leave what a fresh store makes of the same rows."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_random_kills_lose_and_double_nothing() -> None:
    """A short run; `python -m benchmarks.many` is the long one, on each catalog."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.many", "--seconds", "8"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=400)
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "as promised"), ran.stdout + ran.stderr
    assert ran.stdout.startswith("killed: ")
