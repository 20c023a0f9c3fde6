"""Run a stamped model: convert keys, request fields and features to its frame, and call the native model."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.errors import FeatureStoreError, OutOfResources, RequestError
from featurestore.models import features, inputs
from featurestore.models.bundle import Native
from featurestore.models.features import FeatureRows
from featurestore.models.inputs import Values
from featurestore.models.values import to_list
from featurestore.store import FeatureStore


def predict_online(
    native: Native, store: FeatureStore, rows: Sequence[Mapping[str, Any]], missing: str | None = None
) -> tuple[Any, FeatureRows]:
    """Predict for rows of keys, request fields and optional features; also returns the looked-up columns.

    `missing`: the policy for keys without features; None: the stamp's. Raises: RequestError naming the row and field.
    """
    looked_up = features.look_up_online(store, native.stamp, rows)
    features.check_missing(native.stamp, missing or native.stamp.missing, looked_up.columns)
    return predict(native, looked_up.columns), looked_up


def predict(native: Native, columns: Mapping[str, Values]) -> Any:
    """Call the native model with `columns`, which has all its inputs by name.

    Raises: RequestError for any error of the model, with that as its reason; OutOfResources.
    """
    stamp = native.stamp
    try:
        return native.predict(inputs.make_frame(stamp.inputs, columns, named=stamp.named, matrix=native.matrix, nullable=native.nullable))
    except FeatureStoreError:
        raise
    except MemoryError as error:
        raise OutOfResources("the model ran out of memory with these rows; send fewer at once", reason=str(error)) from error
    except (Exception, SystemExit) as error:  # a model may raise any exception
        empty = [column.name for column in stamp.inputs if any(value is None for value in to_list(columns[column.name]))]
        reason = f"{type(error).__name__}: {error}"
        if not empty:
            raise RequestError(
                "the model raised an error for these rows; check their values, and which values the model accepts", reason=reason
            ) from error
        raise RequestError(
            f"the model raised an error for these rows, some of which have no {', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''};"
            " if it does not accept NULLs, send values, refuse such rows with missing='error', or train a model that accepts them (an"
            " imputer in a Pipeline); if it was trained on other types than those of to_pandas, log it with"
            " signature=infer_signature(rows)",
            reason=reason,
        ) from error
