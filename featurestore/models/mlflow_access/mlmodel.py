"""The MLmodel file of a model, parsed by libyaml: MLflow parses it in Python, which takes ten times as long."""

from pathlib import Path
from typing import Any

import yaml

from featurestore.models.mlflow_access.mlflow_client import mlflow

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The loader of libyaml; builds of PyYAML without it have only their own."""


def read_mlmodel(path: Path) -> Any:
    """MLflow's Model of an MLmodel file, as `mlflow.models.Model.load`. Raises: FileNotFoundError."""
    # Both loaders make plain values only.
    return mlflow.models.Model.from_dict(yaml.load(path.read_bytes(), _LOADER))
