"""Run the command line: in this process for its output, or in a separate process for its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from featurestore.cli import main

COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'featurestore'; from featurestore.cli.program import run; run()"]
PROJECT = Path(__file__).parents[2]


def run(*arguments: str) -> Result:
    """The command in this process; stdout and stderr apart."""
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


def as_json(*arguments: str) -> Any:
    """What the command prints with --json."""
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def process(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own, in a folder."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False
    )


def environment(**variables: str) -> dict[str, str]:
    """This process' environment without settings of the store, and with the project importable."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
    return {**rest, "PYTHONPATH": str(PROJECT), **variables}
