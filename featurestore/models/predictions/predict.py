"""Run a stamped model: convert keys, request fields and features to its frame, and call the native model."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.errors import FeatureStoreError, ModelError, OutOfResources, message_of
from featurestore.models.frames import inputs
from featurestore.models.frames.inputs import Values
from featurestore.models.frames.missing import with_defaults
from featurestore.models.frames.values import to_list
from featurestore.models.predictions import features
from featurestore.models.predictions.features import FeatureRows
from featurestore.models.stamps.bundle import Native
from featurestore.models.stamps.stamp import Stamp
from featurestore.store import FeatureStore
from featurestore.values.row_places import RECORDS, RowPlaces


def predict_online(
    native: Native,
    store: FeatureStore,
    rows: Sequence[Mapping[str, Any]],
    missing: str | None = None,
    params: Mapping[str, Any] | None = None,
    places: RowPlaces = RECORDS,
) -> tuple[Any, FeatureRows]:
    """Predict for rows of keys, request fields and optional features; also returns the looked-up columns.

    `missing`: the policy for keys without features; None: the stamp's. Raises: RequestError naming the row and field.
    """
    looked_up = features.look_up_online(store, native.stamp, rows, places)
    features.check_missing(native.stamp, missing or native.stamp.missing, looked_up.columns, places)
    return predict(native, looked_up.columns, params), looked_up


def predict(native: Native, columns: Mapping[str, Values], params: Mapping[str, Any] | None = None, *, in_one_thread: bool = False) -> Any:
    """Call the native model with `columns`, which has all its inputs by name, and the parameters of its signature. `in_one_thread`: without
    threads of OpenMP, for a caller that has threads of its own.

    Raises: ModelError for any error of the model, with that as its reason; OutOfResources; KeyboardInterrupt.
    """
    stamp = native.stamp
    try:
        inputs_with_defaults = with_defaults(stamp.defaults, stamp.plan, stamp.inputs, columns)
        frame = inputs.make_frame(
            stamp.inputs,
            inputs_with_defaults,
            named=native.named,
            matrix=native.matrix,
            nullable=native.nullable,
            exact=stamp.exact_decimals,
        )
        return native.predict(frame, params, in_one_thread=in_one_thread)
    except FeatureStoreError:
        raise
    except MemoryError as error:
        raise OutOfResources("the model ran out of memory with these rows; send fewer at once", reason=message_of(error)) from error
    except KeyboardInterrupt:
        # Of the user at a terminal. In the threads of a server, where only a model raises it, it becomes a ModelError.
        raise
    except BaseException as error:  # a model may raise any exception
        raise ModelError(_explain(stamp, columns, error), reason=f"{type(error).__name__}: {message_of(error)}") from error


def _explain(stamp: Stamp, columns: Mapping[str, Values], error: BaseException) -> str:
    """What to do about an error of the model, without its own words, which may hold anything."""
    names = [column.name for column in stamp.inputs]
    if isinstance(error, KeyError):
        missing_name = error.args[0] if error.args else None
        key = f"'{missing_name}'" if isinstance(missing_name, str) and missing_name in stamp.plan.column_names else "a key"
        return (
            f"the model looked for {key} that is not in what it got (KeyError); it gets the columns"
            f" {', '.join(names)}: name those that it reads with inputs=[...] of log_model"
        )
    empty = [name for name in names if any(value is None for value in to_list(columns[name]))]
    if not empty:
        return "the model raised an error for these rows; check their values, and which values the model accepts"
    return (
        f"the model raised an error for these rows, some of which have no {', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''};"
        " if it does not accept NULLs, send values, refuse such rows with missing='error', or train a model that accepts them (an"
        " imputer in a Pipeline); if it was trained on other types than those of to_pandas, log it with signature=infer_signature(rows)"
    )
