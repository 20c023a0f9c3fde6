"""Whatever a model returns is one prediction for each row, or a ModelError, in a server and in batch scoring alike."""

import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel  # isort: skip - before anything else imports it

from featurestore import models
from featurestore.errors import ModelError
from featurestore.models import LoadedModels
from featurestore.models.frames.outputs import to_prediction_array, to_predictions
from tests.models import worlds
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS

DAY = datetime.fromisoformat("2026-01-02T03:04:05")


class Color(Enum):
    """A value of Python that JSON spells by its value."""

    RED = "red"


class Failing(list[float]):
    """A list that cannot be read."""

    def __iter__(self) -> Any:
        raise RuntimeError("lazy")


def columns_of(**columns: Any) -> dict[str, Any]:
    return columns


WRONG: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a number": lambda: 1.5,
    "an integer": lambda: 1,
    "a text": lambda: "ab",
    "bytes": lambda: b"ab",
    "a set": lambda: {1, 2},
    "a generator": lambda: (value for value in (1, 2)),
    "a map": lambda: map(abs, (1, 2)),
    "an array of no dimensions": lambda: np.array(1.5),
    "a scalar of numpy": lambda: np.float64(1.5),
    "a dict of numbers": lambda: {"a": 1, "b": 2},
    "a dict of dicts": lambda: {"a": {"b": [1, 2]}},
    "a dict of unequal columns": lambda: {"a": [1, 2], "b": [1]},
    "a frame with a name twice": lambda: pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
    "integers beyond 64 bits": lambda: [2**64, 1],
    "integers below 64 bits": lambda: [-(2**63) - 1, 1],
    "integers beyond 64 bits in lists": lambda: [[2**70], [1]],
    "objects": lambda: [object(), object()],
    "objects in dicts": lambda: [{"a": object()}] * 2,
    "sets": lambda: [{1}, {2}],
    "complex numbers": lambda: np.array([1j, 2j]),
    "dicts with numbers for names": lambda: [{1: 2}, {1: 3}],
    "a list that fails": lambda: Failing([1.0, 2.0]),
}

READ: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "a dict of columns": (lambda: columns_of(a=[1, 2], b=np.array([0.5, 1.5])), [{"a": 1, "b": 0.5}, {"a": 2, "b": 1.5}]),
    "a dict of one column": (lambda: columns_of(a=[1, 2]), [1, 2]),
    "a frame": (lambda: pd.DataFrame({"a": [1, 2]}), [1, 2]),
    "a frame of names that are numbers": (lambda: pd.DataFrame([[1, 2], [3, 4]]), [{"0": 1, "1": 2}, {"0": 3, "1": 4}]),
    "a frame of polars": (lambda: pl.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
    "a series of polars": (lambda: pl.Series([1, 2]), [1, 2]),
    "a table": (lambda: pa.table({"a": [1, 2]}), [1, 2]),
    "a column of Arrow": (lambda: pa.chunked_array([[1], [2]]), [1, 2]),
    "a tuple": (lambda: (1, 2), [1, 2]),
    "NaT": (lambda: [pd.NaT, pd.Timestamp(DAY)], [None, DAY]),
    "NaT in a series": (lambda: pd.Series([DAY, None]), [DAY, None]),
    "NaT in an array": (lambda: np.array([DAY, None], "datetime64[ns]"), [DAY, None]),
    "NaT in a frame": (lambda: pd.DataFrame({"a": [DAY, None], "b": [1, 2]}), [{"a": DAY, "b": 1}, {"a": None, "b": 2}]),
    "NaT in lists": (lambda: [[np.datetime64("NaT")], [np.datetime64(DAY)]], [[None], [DAY]]),
    "NA": (lambda: pd.Series([1, None], dtype="Int64"), [1, None]),
    "unsigned": (lambda: np.array([2**63, 1], np.uint64), [2**63, 1]),
    "unsigned in Python": (lambda: [2**64 - 1, 1], [2**64 - 1, 1]),
    "unsigned in lists": (lambda: np.array([[2**63, 1], [2, 3]], np.uint64), [[2**63, 1], [2, 3]]),
    "small unsigned": (lambda: np.array([2, 1], np.uint64), [2, 1]),
    "scalars of numpy": (lambda: [np.float32(0.5), np.int8(1)], [0.5, 1]),
    "long doubles": (lambda: np.array([0.5, 1.5], np.longdouble), [0.5, 1.5]),
    "masked": (lambda: np.ma.masked_array([1.5, 2.5], [True, False]), [None, 2.5]),
    "UUIDs": (lambda: [uuid.UUID(int=1), None], [str(uuid.UUID(int=1)), None]),
    "enums": (lambda: [Color.RED, Color.RED], ["red", "red"]),
    "decimals": (lambda: [Decimal("1.5"), Decimal("2.5")], [Decimal("1.5"), Decimal("2.5")]),
    "arrays in a list": (lambda: [np.array([1, 2]), np.array([3, 4])], [[1, 2], [3, 4]]),
}


@pytest.mark.parametrize("make", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_prediction_for_each_row_is_an_error_of_the_model(make: Callable[[], Any]) -> None:
    for read in (to_predictions, to_prediction_array):
        with pytest.raises(ModelError, match="its predict must return"):
            read(make())


@pytest.mark.parametrize("make, expected", READ.values(), ids=READ.keys())
def test_what_is_read_is_the_same_online_and_in_batches(make: Callable[[], Any], expected: list[Any]) -> None:
    predictions = to_predictions(make())
    assert predictions == expected
    assert [type(value) for value in predictions] == [type(value) for value in expected]
    assert to_prediction_array(make()).to_pylist() == expected


def test_values_of_several_types_are_no_column() -> None:
    assert to_predictions([1, "a"]) == [1, "a"]
    for values in ([1, "a"], [2**63, -1], ["\ud800"], [[1], 2]):
        with pytest.raises(ModelError, match="not a column of one type; its predict must return"):
            to_prediction_array(values)


class Odd(PythonModel):  # type: ignore[misc]
    """A model that returns what its first basket says."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[Any]:
        """Predictions of two rows."""
        basket = int(model_input["basket"].iloc[0])
        if basket == INTERRUPTED:
            raise KeyboardInterrupt
        predictions: list[Any] = {**WRONG, **{name: make for name, (make, _) in READ.items()}}[NAMES[basket]]()
        return predictions


NAMES = [*WRONG, *READ]
INTERRUPTED = 1000


@pytest.fixture(scope="module")
def odd(world: World) -> str:
    """The name of the registered model."""
    models.log_model(Odd(), training_set=world.training_set, registered_model_name="returning", inputs=["basket"])
    return "returning"


def rows_of(basket: int) -> pa.Table:
    rows = worlds.spine(rows=2)
    return rows.set_column(rows.schema.get_field_index("basket"), "basket", pa.array([float(basket)] * 2))


@pytest.mark.parametrize("name", ["None", "a generator", "a dict of numbers", "integers beyond 64 bits", "objects", "a list that fails"])
def test_a_server_and_scoring_refuse_them(world: World, odd: str, name: str) -> None:
    basket = NAMES.index(name)
    with pytest.raises(ModelError, match="its predict must return"):
        LoadedModels(world.store).get(odd).predict([{"customer_id": key, "basket": float(basket), "asked_at": None} for key in (3, 4)])
    for save in (False, True):
        with pytest.raises(ModelError, match="its predict must return"):
            models.score("models:/returning/1", rows_of(basket), "training", save=save, store=world.store)


@pytest.mark.parametrize("name", ["a dict of columns", "NaT", "unsigned", "unsigned in lists"])
def test_a_server_and_scoring_read_them(world: World, odd: str, name: str) -> None:
    basket, (_, expected) = NAMES.index(name), READ[name]
    records = [{"customer_id": key, "basket": float(basket), "asked_at": None} for key in (3, 4)]
    assert LoadedModels(world.store).get(odd).predict(records).predictions == expected
    scored = models.score("models:/returning/1", rows_of(basket), "training", store=world.store, log=True)
    assert scored.column("prediction").to_pylist() == expected


def test_an_interrupt_of_the_user_is_not_an_error_of_the_model(world: World, odd: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        models.score("models:/returning/1", rows_of(INTERRUPTED), "training", store=world.store)
