"""Choose the MLflow flavor that saves a model by the library of the model's class."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any

from featurestore.errors import RequestError, near
from featurestore.models.mlflow_access.mlflow_client import mlflow

FLAVORS = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "torch": "pytorch",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "statsmodels": "statsmodels",
    "prophet": "prophet",
}
"""MLflow flavors by the library of a model's class."""

# MLflow's default for sklearn, skops, takes minutes for a large forest and cannot save functions of a notebook; its default for torch
# needs an example to trace.
_FORMATS = {"mlflow.sklearn": "cloudpickle", "mlflow.pytorch": "pickle"}

# These convert their columns to one matrix of floats, so they can be called with one.
_MATRIX_READERS = (
    "sklearn.decomposition",
    "sklearn.ensemble._forest",
    "sklearn.ensemble._gb",
    "sklearn.ensemble._hist_gradient_boosting",
    "sklearn.feature_selection",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.preprocessing._data",
    "sklearn.tree",
    "xgboost",
    "lightgbm",
)

# Other MLflow loaders convert the frame to an array, which would be of Python objects, or support only numpy's types.
_NULLABLE_READERS = ("mlflow.pyfunc.model", "mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm")


@dataclass(frozen=True)
class Flavor:
    """A flavor's module, the name of the parameter that takes the model, and our defaults for the others."""

    module: ModuleType
    parameter: str
    defaults: Mapping[str, Any]

    def save(self, model: Any, options: Mapping[str, Any]) -> None:
        """Save the model with the flavor's `save_model`."""
        with _quiet(self.module.__name__, "serialization_format" not in options):
            self.module.save_model(**{self.parameter: model, **self.options(options)})

    def options(self, requested: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `save_model`; requirements are always given, because MLflow takes seconds to infer them."""
        options = {**self.defaults, **requested}
        if "conda_env" in options:
            return options
        requirement = f"featurestore=={version('featurestore')}"
        listed = options.get("pip_requirements")
        if listed is None and hasattr(self.module, "get_default_pip_requirements"):
            cloudpickle = {"include_cloudpickle": True} if options.get("serialization_format") == "cloudpickle" else {}
            listed = self.module.get_default_pip_requirements(**cloudpickle)
        if isinstance(listed, list):
            options["pip_requirements"] = [*listed, requirement, *(options.pop("extra_pip_requirements", None) or [])]
        return options


def find_flavor(model: Any, flavor: ModuleType | None) -> Flavor:
    """The flavor of a model, by default by its class. Raises: RequestError if its library is unknown."""
    module = flavor or _module(model)
    if not hasattr(module, "save_model"):
        raise RequestError(f"flavor={module!r} is not an MLflow flavor, since it has no save_model; pass a module such as mlflow.sklearn")
    if module.__name__ == "mlflow.pyfunc":
        return Flavor(module, "python_model", {})
    parameters = list(inspect.signature(module.save_model).parameters)
    written = _FORMATS.get(module.__name__)
    return Flavor(module, parameters[0], {"serialization_format": written} if written and "serialization_format" in parameters else {})


def reads_by_name(flavor: Flavor) -> bool:
    """Whether models of the flavor read the columns of their frame by name: those of a user's own code."""
    return flavor.module.__name__ == "mlflow.pyfunc"


METHOD_OPTION = "pyfunc_predict_fn"
PREDICT_METHODS = ("predict", "predict_proba", "predict_log_proba", "predict_joint_log_proba", "decision_function", "score_samples")
"""The methods of a model that answer for rows, by the names that scikit-learn gave them."""


def takes_method(flavor: Flavor) -> bool:
    """Whether the MLflow flavor itself can call another method than `predict`; only scikit-learn's can."""
    return METHOD_OPTION in inspect.signature(flavor.module.save_model).parameters


def check_method(model: Any, flavor: Flavor, method: str) -> None:
    """Raises: RequestError for a method that does not predict, or that the model does not have."""
    if method not in PREDICT_METHODS:
        raise RequestError(f"pyfunc_predict_fn: no method '{method}' that predicts{near(method, PREDICT_METHODS)}", field=METHOD_OPTION)
    if method == "predict":
        return
    if not callable(getattr(model, method, None)):
        methods = [name for name in PREDICT_METHODS if callable(getattr(model, name, None))]
        raise RequestError(
            f"pyfunc_predict_fn: the {flavor.module.__name__} model {type(model).__name__} has no method {method}, only"
            f" {', '.join(methods)}. For probabilities from LightGBM or XGBoost, log LGBMClassifier or XGBClassifier; a booster's predict"
            " returns them if its objective does",
            field=METHOD_OPTION,
        )


def reads_matrix(native: Any) -> bool:
    """Whether a model, or each step of its pipeline, converts its columns to one matrix of floats."""
    if type(native).__module__ == "sklearn.pipeline" and hasattr(native, "named_steps"):
        return all(step == "passthrough" or reads_matrix(step) for step in native.named_steps.values())
    return type(native).__module__.startswith(_MATRIX_READERS)


def takes_nullable(loader: str) -> bool:
    """Whether models that MLflow loads by this module accept pandas' nullable integers and booleans."""
    return loader in _NULLABLE_READERS or not loader.startswith("mlflow.")


def _module(model: Any) -> ModuleType:
    if isinstance(model, mlflow.pyfunc.PythonModel | str):
        return import_module("mlflow.pyfunc")
    for base in type(model).__mro__:
        flavor = FLAVORS.get(base.__module__.partition(".")[0])
        if flavor is not None:
            return import_module(f"mlflow.{flavor}")
    raise RequestError(
        f"{type(model).__module__}.{type(model).__name__} is not a model of a known library ({', '.join(FLAVORS)});"
        " pass flavor=, or wrap it in an mlflow.pyfunc.PythonModel"
    )


@contextmanager
def _quiet(name: str, suppress: bool) -> Iterator[None]:
    """Suppress MLflow's warning about cloudpickle if we chose it."""
    logger = logging.getLogger(name)
    level = logger.level
    if suppress:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
