"""What each kind of job does: from its JSON, in a process of its own, with nothing of the server that took it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featurestore.errors import FeatureStoreError
from featurestore.store import FeatureStore

TRAINING_SET = "training set"
MATERIALIZATION = "materialization"

Report = Callable[[dict[str, Any]], None]
"""Is told of progress, JSON-ready."""
Work = Callable[[FeatureStore, Path, Mapping[str, Any], Report], Any]
"""Does a job, of what lies in its folder and what was asked for, and returns its JSON-ready result, or one that is a `Part`."""


@dataclass(frozen=True)
class Part:
    """The JSON-ready result of a job that failed, and yet did something that stays."""

    result: Any
    error: FeatureStoreError


def training_set(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> None:
    """Join and store what was prepared; the catalog knows it then."""
    backend = store.backend
    backend.build_training_set(backend.load_spooled(folder), lambda progress: report(asdict(progress)))


def materialization(store: FeatureStore, folder: Path, request: Mapping[str, Any], report: Report) -> list[dict[str, Any]] | Part:
    """Bring views up to date; a line for each that could be."""
    told = lambda progress: report(asdict(progress))  # noqa: E731 - a line of its own, not a name
    runs = store.materialize(request["names"], request["start"], request["end"], told, failures="return")
    result, error = [run.to_dict() for run in runs], runs.error
    return result if error is None else Part(result, error)


WORKS: Mapping[str, Work] = {TRAINING_SET: training_set, MATERIALIZATION: materialization}
