"""JSON of values that JSON has no form for, and of floats that are not finite."""

import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.values import json_encoding

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def named(value: Any) -> Any:
    """A value with floats that are not finite by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [named(item) for item in value]
    return {name: named(item) for name, item in value.items()} if isinstance(value, dict) else value


@given(VALUES)
def test_documents_are_those_of_the_standard_library(value: Any) -> None:
    assert json.loads(json_encoding.dumps(value)) == named(value)


@pytest.mark.parametrize(
    "value, text",
    [
        (datetime(12, 1, 2, 3, 4, 5, tzinfo=UTC), "0012-01-02T03:04:05.000000Z"),
        (date(12, 1, 2), "0012-01-02"),
        (time(3, 4, 5, 6), "03:04:05.000006"),
        (Decimal("1.10"), "1.10"),
        (b"\x00\xff", "AP8="),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_are_spelled(value: object, text: str) -> None:
    assert json.loads(json_encoding.dumps([value])) == [text]


def test_arrays_are_lists() -> None:
    assert json.loads(json_encoding.dumps({"a": np.array([1.5, math.nan])})) == {"a": [1.5, "NaN"]}


def test_what_has_no_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="not JSON serializable: complex"):
        json_encoding.dumps([1j])
