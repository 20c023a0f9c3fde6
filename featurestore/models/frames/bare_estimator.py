"""Estimators of scikit-learn without the names of their columns, which predict from a bare matrix.

Of a frame, scikit-learn compares the names of all columns and converts it to a matrix again. That takes longer than many models need for a
row, and our frames have the columns of the training in their order anyway. To find that an estimator is fitted, it looks at the names of
all its attributes, several times in a prediction; a fitted one may say so instead.
"""

import copy
from typing import Any

import numpy as np

_NAMES = "feature_names_in_"
_FITTED = "__sklearn_is_fitted__"
"""The method by which estimators say that they are fitted. Others are if an attribute ends with an underscore."""
_OUTPUT = "_sklearn_output_config"
"""Set by `set_output`: what an estimator returns may be a frame, whose names come from those of its input."""


def without_names(native: Any) -> Any:
    """A copy of a fitted estimator, or of a pipeline of such, that shares all but the names of its columns with it.

    For models that `flavor.reads_matrix`. None for one that does not know names, is not scikit-learn's own, or returns frames.
    """
    if type(native).__module__ == "sklearn.pipeline":
        steps = [(name, step if step == "passthrough" else _bare(step)) for name, step in native.steps]
        if any(step is None for _, step in steps) or _OUTPUT in vars(native):
            return None
        bare = copy.copy(native)
        bare.steps = steps
        return bare if hasattr(native, _NAMES) else None
    return _bare(native) if _NAMES in vars(native) else None


def only_computes(estimator: Any) -> bool:
    """Whether an estimator is made of scikit-learn's own code and of plain values, and uses one thread.

    It may not hold functions, or estimators of others: they can do anything, such as to wait.
    """
    if not type(estimator).__module__.startswith("sklearn."):
        return False
    return all(_is_plain(name, value) for name, value in estimator.get_params(deep=False).items())


def _is_plain(name: str, value: Any) -> bool:
    if name == "n_jobs":
        return value in (None, 1)
    if value is None or isinstance(value, str | bool | int | float | np.generic | np.ndarray | np.random.RandomState):
        return True
    if isinstance(value, list | tuple):
        return all(_is_plain("", item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain("", item) for item in value.values())
    return hasattr(value, "get_params") and only_computes(value)


def _bare(estimator: Any) -> Any:
    if not type(estimator).__module__.startswith("sklearn.") or _OUTPUT in vars(estimator) or hasattr(estimator, "steps"):
        return None
    bare = copy.copy(estimator)
    vars(bare).pop(_NAMES, None)
    if not hasattr(bare, _FITTED) and any(name.endswith("_") and not name.startswith("__") for name in vars(bare)):
        setattr(bare, _FITTED, _is_fitted)
    return bare


def _is_fitted() -> bool:
    return True
