"""Predictions of numpy arrays are the same in Arrow as those that go through Python's values."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.models.vendor import VENDOR_WARNINGS  # isort: skip - before anything else imports it
from featurestore.models.frames.outputs import to_prediction_array, to_predictions

pytestmark = VENDOR_WARNINGS

RESULTS: dict[str, Any] = {
    "doubles": np.array([0.5, np.nan, np.inf]),
    "floats": np.array([0.1, np.nan], np.float32),
    "integers": np.array([1, -2], np.int32),
    "unsigned": np.array([1, 255], np.uint8),
    "booleans": np.array([True, False]),
    "one column": np.array([[1.5], [2.5]]),
    "probabilities": np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
    "a view": np.arange(12.0).reshape(3, 4)[:, 1:3],
    "no rows": np.zeros((0, 2)),
    "texts": np.array(["a", "b"], object),
    "a list": [1, 2.5, None],
    "a frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    "three dimensions": np.zeros((2, 2, 2)),
}


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS.keys())
def test_both_ways_are_equal(result: Any) -> None:
    expected = pa.array(to_predictions(result))
    made = to_prediction_array(result)
    assert made.to_pylist().__repr__() == expected.to_pylist().__repr__()
    assert made.type == expected.type or len(expected) == 0
