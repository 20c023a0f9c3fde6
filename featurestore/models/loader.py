"""What MLflow loads for a stamped model: keys and request fields in, features looked up, the native model's answer out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from featurestore.models import bundle, origin, running
from featurestore.models.bundle import OWN_CONFIG, Native
from featurestore.models.values import plain
from featurestore.store import FeatureStore


class KeyedModel:
    """A stamped model over a store. MLflow calls `predict`."""

    def __init__(self, native: Native, store: FeatureStore, missing: str | None = None) -> None:
        self._native = native
        self._store = store
        self._missing = missing

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Any:
        """The native model's answer for a frame with a column for each key and request field; feature columns override.

        MLflow checks the frame against the signature first. It refuses integer keys in a column of floats, which is what pandas
        makes of integers with NULLs: leave out the rows without a key. Raises: RequestError and TypeMismatch naming the column or row.
        """
        given = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        columns = {str(name): [plain(value) for value in given[name].tolist()] for name in given.columns}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        answer, _ = running.online(self._native, self._store, rows, self._missing)
        return answer

    def get_raw_model(self) -> Any:
        """The native model."""
        return bundle.raw(self._native.model)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> KeyedModel:
    """What MLflow calls by the name it knows. `model_config` may say home, catalog, warehouse, online and missing."""
    config = dict(model_config or {})
    own = {name: config.pop(name, None) for name in OWN_CONFIG}
    missing = own.pop("missing")
    native = Native(Path(path), config)
    return KeyedModel(native, origin.find(native.stamp, places=own), missing)
