"""The loader of stamped models for MLflow: `predict` looks up the features of keys and calls the native model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from featurestore.errors import TypeMismatch
from featurestore.models.frames.values import to_python
from featurestore.models.predictions import predict
from featurestore.models.stamps import bundle, locate_store
from featurestore.models.stamps.bundle import OWN_CONFIG, Native
from featurestore.models.stamps.stamp import read_stamp
from featurestore.store import FeatureStore
from featurestore.values.row_places import frame_of

_EXACT = 2**53
"""From here on, doubles do not represent every integer."""
FRAME = frame_of("the frame")


class KeyedModel:
    """A stamped model with a store; MLflow calls `predict`."""

    def __init__(self, native: Native, store: FeatureStore, missing: str | None = None) -> None:
        self._native = native
        self._store = store
        self._missing = missing

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Predict for a frame with the keys and request fields; feature columns override looked-up features.

        MLflow checks the frame against the signature first. It refuses integer keys in a column of floats, to which pandas converts
        integers with NULLs: leave out the rows without a key. Raises: RequestError and TypeMismatch naming the column or row.
        """
        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        _refuse_rounded(frame, self._native.stamp.plan.sql_types)
        columns = {str(name): [to_python(value) for value in frame[name].tolist()] for name in frame.columns}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        predictions, _ = predict.predict_online(self._native, self._store, rows, self._missing, self._native.check_params(params), FRAME)
        return predictions

    def get_raw_model(self) -> Any:
        """The native model."""
        return bundle.saved_object(self._native.model)


def _refuse_rounded(frame: pd.DataFrame, sql_types: Mapping[str, str]) -> None:
    """Raises: TypeMismatch for integers in a column of floats that may have lost digits."""
    for name, sql_type in sql_types.items():
        if sql_type == "BIGINT" and name in frame.columns and frame[name].dtype.kind == "f" and (frame[name].abs() >= _EXACT).any():
            raise TypeMismatch(
                f"the column '{name}' is BIGINT, but was sent as {frame[name].dtype} with values of 2**53 or more, which lose digits;"
                " pandas converts integers with NULLs to doubles, also in a list of records: send a frame with a column of type Int64",
                field=name,
                expected=sql_type,
            )


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> KeyedModel:
    """The function that MLflow calls by its name; `model_config` may have home, catalog, warehouse, online and missing.

    The settings of the store say whether pickles are loaded, so that it is found first.
    """
    config = dict(model_config or {})
    options = {name: config.pop(name, None) for name in OWN_CONFIG}
    missing = options.pop("missing")
    store = locate_store.find_store(read_stamp(Path(path)), places=options)
    try:
        return KeyedModel(Native(Path(path), config, store.settings.allow_pickle), store, missing)
    except BaseException:
        store.close()
        raise
