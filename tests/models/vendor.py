"""MLflow for tests: untyped, without telemetry, and with its warnings suppressed, since warnings are errors."""

import os
import warnings
from typing import Any

import pytest

# MLflow reads it when it is imported.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

with warnings.catch_warnings():
    # It warns about type hints of its own.
    warnings.simplefilter("ignore")
    from featurestore.models.mlflow_access import mlflow_client

mlflow: Any = mlflow_client.mlflow
PythonModel: Any = mlflow.pyfunc.PythonModel

# Its calls of SQLAlchemy and pandas; every test module of models takes these as its pytestmark.
VENDOR_WARNINGS = [
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]
