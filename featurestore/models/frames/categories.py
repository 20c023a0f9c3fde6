"""The categories of boosted trees that were trained on pandas category columns, as the model itself has them."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from featurestore.errors import RequestError

Categories: TypeAlias = tuple[str | int | float | bool, ...]
"""The categories of a column, in the order of their codes."""


def categories_of(native: Any) -> dict[str, Categories]:
    """The categories of a model's columns by name; empty for a model without any, and for one whose library keeps them to itself.

    Trees split by the codes of categories, which depend on their order in the training frame, so a prediction needs the same order.
    Raises: RequestError for a model that does not keep its categories, or has others than texts, numbers and booleans.
    """
    booster = native.get_booster() if hasattr(native, "get_booster") else getattr(native, "booster_", native)
    library = type(booster).__module__.partition(".")[0]
    categories = _of_xgboost(booster) if library == "xgboost" else _of_lightgbm(booster) if library == "lightgbm" else {}
    for name, values in categories.items():
        for value in values:
            if not isinstance(value, str | int | float | bool):
                raise RequestError(
                    f"the model was trained on the categories of '{name}', which are {type(value).__name__}; make them texts or numbers",
                    field=name,
                )
    return {name: tuple(values) for name, values in categories.items()}


def _of_xgboost(booster: Any) -> Mapping[str, Sequence[Any]]:
    types = getattr(booster, "feature_types", None) or []
    if "c" not in types:
        return {}
    known = dict(booster.get_categories(export_to_arrow=True).to_arrow()) if hasattr(booster, "get_categories") else {}
    names = [name for name, kind in zip(booster.feature_names or [], types, strict=True) if kind == "c"]
    if not names or any(known.get(name) is None for name in names):
        raise RequestError(f"the model has categories, and does not say which; {_ADVICE}")
    return {name: known[name].to_pylist() for name in names}


def _of_lightgbm(booster: Any) -> Mapping[str, Sequence[Any]]:
    categories = getattr(booster, "pandas_categorical", None)
    if not categories:
        return {}
    # The second is the name in a model that was read from a file.
    columns = booster.params.get("categorical_column") or booster.params.get("categorical_feature") or []
    names = booster.feature_name()
    if not isinstance(columns, list) or len(columns) != len(categories) or not all(isinstance(column, int) for column in columns):
        raise RequestError(f"the model does not say which of its columns have categories; {_ADVICE}")
    return {names[column]: values for column, values in zip(sorted(columns), categories, strict=True)}


_ADVICE = "train it with a newer release of its library, or encode the columns in a sklearn Pipeline, and log the pipeline"
