"""Programs that check files of a deployment, which the development environment installs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run(program: str, *arguments: str) -> str:
    """What a program beside this Python prints, run in the checkout. Raises: CalledProcessError if it fails."""
    found = shutil.which(program, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"no {program} here: its package has wheels for Linux on x86_64 only; make setup installs it there")
    return subprocess.run([found, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
