"""Publishers killed inside writes, and readers inside reads, leave an LMDB store whole."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_kills_at_random_instants_leave_all_of_a_publish_or_nothing() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.kills", "--kills", "12", "--rows", "1000"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("12 publishers killed inside writes: ")
    assert "2 readers killed inside reads" in ran.stdout
