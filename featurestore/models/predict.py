"""Running a stamped model: what is known of each row becomes the frame that the native model was trained on."""

from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.errors import FeatureStoreError, OutOfResources, RequestError
from featurestore.models import features, inputs
from featurestore.models.bundle import Native
from featurestore.models.features import Found
from featurestore.models.inputs import Values
from featurestore.models.values import to_list
from featurestore.store import FeatureStore


def online(native: Native, store: FeatureStore, rows: Sequence[Mapping[str, Any]], missing: str | None = None) -> tuple[Any, Found]:
    """The model's own answer for rows of keys, request fields and perhaps features, and all that went in. `missing` None: as stamped.

    Raises: RequestError naming the row and field.
    """
    found = features.online(store, native.stamp, rows)
    features.check_missing(native.stamp, missing or native.stamp.missing, found.columns)
    return predict(native, found.columns), found


def predict(native: Native, columns: Mapping[str, Values]) -> Any:
    """The model's own answer. `columns` has every input by name.

    Raises: RequestError for whatever the model raises, whose words are its reason; OutOfResources.
    """
    stamp = native.stamp
    try:
        return native.predict(inputs.frame(stamp.inputs, columns, named=stamp.named, matrix=native.matrix, nullable=native.nullable))
    except FeatureStoreError:
        raise
    except MemoryError as error:
        raise OutOfResources("the model ran out of memory at these rows; send fewer at once", reason=str(error)) from error
    except (Exception, SystemExit) as error:  # a model is code of its maker's, and raises what it likes
        empty = [one.name for one in stamp.inputs if any(value is None for value in to_list(columns[one.name]))]
        reason = f"{type(error).__name__}: {error}"
        if not empty:
            raise RequestError(
                "the model refuses these rows; look at their values, or at what the model can take", reason=reason
            ) from error
        raise RequestError(
            f"the model refuses these rows, of which some have no {', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}; if it cannot"
            " do with NULLs, send values, refuse such rows with missing='error', or train one that takes them (an imputer in a Pipeline);"
            " if it was fitted on other types than those of to_pandas, log it with signature=infer_signature(rows)",
            reason=reason,
        ) from error
