"""What MLflow loads for a stamped model: keys and request fields in, features looked up, the native model's answer out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from featurestore.errors import TypeMismatch
from featurestore.models import bundle, locate_store, predict
from featurestore.models.bundle import OWN_CONFIG, Native
from featurestore.models.values import sql_types_of, to_python
from featurestore.store import FeatureStore

_EXACT = 2**53
"""From here on, not every integer is a double of its own."""


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
        _refuse_rounded(given, sql_types_of(self._native.stamp.plan))
        columns = {str(name): [to_python(value) for value in given[name].tolist()] for name in given.columns}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        answer, _ = predict.online(self._native, self._store, rows, self._missing)
        return answer

    def get_raw_model(self) -> Any:
        """The native model."""
        return bundle.raw(self._native.model)


def _refuse_rounded(given: pd.DataFrame, kinds: Mapping[str, str]) -> None:
    """Raises: TypeMismatch for integers in a column of floats that may have been other ones before."""
    for name, kind in kinds.items():
        if kind == "BIGINT" and name in given.columns and given[name].dtype.kind == "f" and (given[name].abs() >= _EXACT).any():
            raise TypeMismatch(
                f"the column '{name}' is BIGINT, and came as {given[name].dtype} with values of 2**53 or more, which lose their last digits"
                " so; pandas makes doubles of integers with NULLs, also of a list of records: send a frame with a column of its type Int64",
                field=name,
                expected=kind,
            )


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> KeyedModel:
    """What MLflow calls by the name it knows. `model_config` may say home, catalog, warehouse, online and missing."""
    config = dict(model_config or {})
    own = {name: config.pop(name, None) for name in OWN_CONFIG}
    missing = own.pop("missing")
    native = Native(Path(path), config)
    return KeyedModel(native, locate_store.find_store(native.stamp, places=own), missing)
