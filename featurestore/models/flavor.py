"""Which of MLflow's flavors saves a model, found by the library that the model's class comes from."""

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
from featurestore.models.mlflow_client import mlflow

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
"""The library of a class, and the MLflow flavor for its models."""

# MLflow's default for sklearn, skops, takes minutes for a large forest, and cannot write functions of a notebook; the one for
# torch needs an example to trace.
_FORMATS = {"mlflow.sklearn": "cloudpickle", "mlflow.pytorch": "pickle"}

# These turn whatever columns they get into one matrix of floats, so they may be handed one.
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

# MLflow's others make an array of the frame, which would be one of Python objects, or read numpy's types only.
_NULLABLE_READERS = ("mlflow.pyfunc.model", "mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm")


@dataclass(frozen=True)
class Flavor:
    """A flavor's module, the name of the parameter that takes the model, and our defaults for the others."""

    module: ModuleType
    parameter: str
    defaults: Mapping[str, Any]

    def save(self, model: Any, options: Mapping[str, Any]) -> None:
        """Save the model as the flavor does by itself."""
        with _quiet(self.module.__name__, "serialization_format" not in options):
            self.module.save_model(**{self.parameter: model, **self.options(options)})

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What to call `save_model` with. Requirements are always said: finding them out takes MLflow seconds."""
        options = {**self.defaults, **given}
        if "conda_env" in options:
            return options
        own = f"featurestore=={version('featurestore')}"
        listed = options.get("pip_requirements")
        if listed is None and hasattr(self.module, "get_default_pip_requirements"):
            cloudpickle = {"include_cloudpickle": True} if options.get("serialization_format") == "cloudpickle" else {}
            listed = self.module.get_default_pip_requirements(**cloudpickle)
        if isinstance(listed, list):
            options["pip_requirements"] = [*listed, own, *(options.pop("extra_pip_requirements", None) or [])]
        return options


def find_flavor(model: Any, given: ModuleType | None) -> Flavor:
    """The flavor of a model, or the one given. Raises: RequestError when its class comes from no library we know."""
    module = given or _module(model)
    if not hasattr(module, "save_model"):
        raise RequestError(f"flavor={module!r} is no MLflow flavor: it has no save_model; give a module such as mlflow.sklearn")
    if module.__name__ == "mlflow.pyfunc":
        return Flavor(module, "python_model", {})
    parameters = list(inspect.signature(module.save_model).parameters)
    written = _FORMATS.get(module.__name__)
    return Flavor(module, parameters[0], {"serialization_format": written} if written and "serialization_format" in parameters else {})


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
            " gives them where its objective does",
            field=METHOD_OPTION,
        )


def reads_matrix(native: Any) -> bool:
    """Whether a model makes one matrix of floats of its columns anyhow, itself or by the steps of its pipeline."""
    if type(native).__module__ == "sklearn.pipeline" and hasattr(native, "named_steps"):
        return all(step == "passthrough" or reads_matrix(step) for step in native.named_steps.values())
    return type(native).__module__.startswith(_MATRIX_READERS)


def takes_nullable(loader: str) -> bool:
    """Whether what MLflow loads by this module takes integers and booleans with NULL as pandas holds them exactly."""
    return loader in _NULLABLE_READERS or not loader.startswith("mlflow.")


def check_categories(native: Any) -> None:
    """Raises: RequestError for boosted trees trained on pandas categories, whose codes no lookup could repeat."""
    booster = native.get_booster() if hasattr(native, "get_booster") else getattr(native, "booster_", native)
    by_code = "c" in (getattr(booster, "feature_types", None) or []) if type(booster).__module__.startswith("xgboost") else False
    if by_code or getattr(booster, "pandas_categorical", None):
        raise RequestError(
            "the model was trained on category columns: which code stands for which value depends on the frame it was trained on;"
            " encode them in a sklearn Pipeline, and log the pipeline"
        )


def _module(model: Any) -> ModuleType:
    if isinstance(model, mlflow.pyfunc.PythonModel | str):
        return import_module("mlflow.pyfunc")
    for kind in type(model).__mro__:
        flavor = FLAVORS.get(kind.__module__.partition(".")[0])
        if flavor is not None:
            return import_module(f"mlflow.{flavor}")
    raise RequestError(
        f"{type(model).__module__}.{type(model).__name__} is a model of no library known here ({', '.join(FLAVORS)});"
        " give flavor=, or wrap it in an mlflow.pyfunc.PythonModel"
    )


@contextmanager
def _quiet(name: str, ours: bool) -> Iterator[None]:
    """MLflow warns about cloudpickle, which here was not the caller's choice."""
    logger = logging.getLogger(name)
    level = logger.level
    if ours:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
