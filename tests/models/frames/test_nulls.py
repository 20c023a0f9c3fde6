"""Integers and booleans in columns with NULLs reach a model unchanged, by every interface."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier

from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow  # isort: skip - before anything else imports it
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, models
from featurestore.errors import TypeMismatch
from featurestore.models.frames.inputs import Input, make_frame
from featurestore.models.frames.values import to_list
from featurestore.models.mlflow_access import tracking
from featurestore.pipelines.training_sets.training_set import TrainingSet
from tests.models.worlds import World
from tests.server.conftest import serve
from tests.worlds import STAMP, load_source

pytestmark = [*VENDOR_WARNINGS, pytest.mark.filterwarnings("ignore::UserWarning")]

BIG = 2**53 + 1
AT = datetime(2026, 3, 1, tzinfo=UTC)
INPUTS = ["visits", "active", "asked", "amount"]
SEEN = [f"{BIG} True {BIG + 2} 0.5", "<NA> <NA> <NA> nan"]
"""The expected model inputs of customers 1 and 2."""


class Telling(PythonModel):  # type: ignore[misc]
    """A model that tells what it was given."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> list[str]:
        """The values of each row, as they are spelled."""
        return [" ".join(str(model_input[name].iloc[row]) for name in INPUTS) for row in range(len(model_input))]


@pytest.fixture(scope="module")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FeatureStore, TrainingSet]]:
    """A store whose second customer has NULLs only, and a training set of both, twice."""
    tracking.use_tracking(world.store.settings)
    settings = Settings(home=tmp_path_factory.mktemp("nulls"), mlflow_tracking_uri=mlflow.get_tracking_uri())
    with FeatureStore(settings=settings) as store:
        columns = {"visits": pa.array([BIG, None], pa.int64()), "active": [True, None], "amount": [0.5, None]}
        load_source(store, "raw.a", pa.table({"customer_id": [1, 2], "t": pa.array([AT, AT], STAMP), **columns}))
        source = Source("a", table="raw.a", timestamp="t")
        view = FeatureView("va", entity=Entity("customer", keys="customer_id"), source=source, features=["visits", "active", "amount"])
        store.apply([FeatureService("svc", features=[view], request={"asked": "bigint"})])
        store.materialize(end="2026-03-20")
        yield store, store.training_set("svc", spine(4).assign(label=[0, 1, 0, 1]), timestamp="now", label="label")


def spine(rows: int = 2) -> pd.DataFrame:
    """The two customers in turn, long after."""
    now = pd.Timestamp("2026-03-10", tz="UTC")
    asked = pd.array([BIG + 2, None] * (rows // 2), dtype="Int64")
    return pd.DataFrame({"customer_id": [1, 2] * (rows // 2), "asked": asked, "now": [now] * rows})


@pytest.fixture(scope="module")
def telling(trained: tuple[FeatureStore, TrainingSet]) -> str:
    """The address of a model that tells what it was given."""
    store, made = trained
    info = models.log_model(
        Telling(), training_set=made, inputs=INPUTS, registered_model_name="telling", pip_requirements=["mlflow"], store=store
    )
    return str(info.model_uri)


@pytest.mark.parametrize("at", ["online", "training", AT])
def test_a_score(trained: tuple[FeatureStore, TrainingSet], telling: str, at: Any) -> None:
    scored = models.score(telling, spine(), at=at, store=trained[0])
    assert list(scored["prediction"]) == SEEN


def test_pyfunc(telling: str) -> None:
    loaded = mlflow.pyfunc.load_model(telling)
    assert loaded.predict(spine().drop(columns="now")) == SEEN
    sent = spine().drop(columns="now").assign(visits=pd.array([None, BIG + 4], dtype="Int64"))
    assert [row.partition(" ")[0] for row in loaded.predict(sent)] == [str(BIG), str(BIG + 4)]


@pytest.mark.parametrize("column", ["asked", "visits"])
def test_pyfunc_refuses_integers_that_have_lost_digits(telling: str, column: str) -> None:
    loaded = mlflow.pyfunc.load_model(telling)
    sent = spine().drop(columns="now").assign(asked=1, visits=1)
    sent[column] = pd.Series([float(BIG), None])
    with pytest.raises(TypeMismatch, match=rf"the column '{column}' is BIGINT, but was sent as float64 .* type Int64"):
        loaded.predict(sent)
    sent[column] = pd.Series([float(2**53 - 1), None])
    assert len(loaded.predict(sent)) == 2


@pytest.mark.slow
def test_a_served_model(trained: tuple[FeatureStore, TrainingSet], telling: str) -> None:
    records: list[dict[str, Any]] = [{"customer_id": 1, "asked": BIG + 2}, {"customer_id": 2, "asked": None}]
    with serve(trained[0]) as served:
        for body in (
            {"dataframe_records": records},
            {"dataframe_split": {"columns": ["customer_id", "asked"], "data": [list(row.values()) for row in records]}},
        ):
            answer = httpx.post(f"{served.url}/v1/models/telling/invocations", json=body, timeout=60)
            assert answer.is_success, answer.text
            assert answer.json()["predictions"] == SEEN


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(SimpleImputer(strategy="most_frequent"), KNeighborsClassifier(1)),
        lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=1, n_jobs=1, verbose=-1),
        xgboost.XGBClassifier(n_estimators=2, n_jobs=1),
    ],
    ids=["scikit-learn", "lightgbm", "xgboost"],
)
def test_what_people_train_with_answers_as_by_itself(trained: tuple[FeatureStore, TrainingSet], model: Any) -> None:
    store, made = trained
    rows = made.to_pandas()
    assert [str(rows[name].dtype) for name in INPUTS] == ["Int64", "boolean", "Int64", "float64"]
    fitted = model.fit(rows[INPUTS], rows["label"])
    info = models.log_model(fitted, training_set=made, name="fitted", store=store)
    expected = fitted.predict(rows[INPUTS][:2]).tolist()
    assert models.score(info.model_uri, spine(), at="training", store=store)["prediction"].tolist() == expected
    assert np.asarray(mlflow.pyfunc.load_model(info.model_uri).predict(spine().drop(columns="now"))).tolist() == expected


def column(kind: str, values: Any, *, seen: bool = False, nullable: bool = True) -> tuple[str, list[Any]]:
    """A column of a model's frame: the type, and the values with None for NULL."""
    made = make_frame([Input("a", "feature", kind, seen)], {"a": values}, named=True, matrix=False, nullable=nullable)["a"]
    return str(made.dtype), [None if pd.isna(value) else value for value in made.tolist()]


def test_the_type_of_a_column_is_that_of_training_where_the_values_fit_it() -> None:
    whole = partial(column, "int64")
    assert whole([BIG, None]) == whole(pa.chunked_array([[BIG, None]])) == ("Int64", [BIG, None])
    assert whole([2**63 - 1, -(2**63), None]) == ("Int64", [2**63 - 1, -(2**63), None])
    assert whole([BIG, 1]) == ("int64", [BIG, 1])
    assert whole([BIG, 1], seen=True) == ("Int64", [BIG, 1])
    assert whole([None, None]) == ("Int64", [None, None])
    assert whole([80.0, None]) == ("Int64", [80, None])
    assert whole([80.5, None]) == ("float64", [80.5, None])
    assert whole([2.0**63, None]) == ("float64", [2.0**63, None])
    assert whole([float("inf"), 1]) == ("float64", [float("inf"), 1.0])
    assert column("int32", [3 * 10**9, None]) == ("Int64", [3 * 10**9, None])
    assert column("int32", [3 * 10**9, 1]) == ("int64", [3 * 10**9, 1])
    assert column("bool", [True, None]) == column("bool", pa.chunked_array([[True, None]])) == ("boolean", [True, None])


def test_a_block_of_doubles_has_each_value_in_its_row() -> None:
    columns = {
        "whole": pa.chunked_array([[1, None, 3], [], [4, 2**53 + 1]]),
        "half": pa.chunked_array([[0.5], [None, float("inf"), -0.0, 2.5]]),
        "active": pa.chunked_array([[True, False, None, True, False]]),
        "price": pa.chunked_array([[Decimal("0.10")] * 4, [None]], pa.decimal128(10, 2)),
        "sent": [7, None, 2.5, True, Decimal("0.3")],
    }
    inputs = [Input(name, "feature", "double", True) for name in columns]
    expected = np.array([to_list(values) for values in columns.values()], dtype=np.float64).T
    long = {
        name: list(values) * 14_000 if isinstance(values, list) else pa.chunked_array(values.chunks * 14_000)
        for name, values in columns.items()
    }
    for given, rows in ((columns, expected), (long, np.tile(expected, (14_000, 1)))):
        block = make_frame(inputs, given, named=False, matrix=True, nullable=True)
        assert block.flags.c_contiguous
        np.testing.assert_array_equal(block, rows)
        np.testing.assert_array_equal(make_frame(inputs, given, named=True, matrix=True, nullable=True)["sent"], rows[:, 4])


def test_a_library_that_makes_an_array_of_its_frame_gets_doubles() -> None:
    assert column("int64", [3, None], nullable=False) == ("float64", [3.0, None])
    assert column("bool", [True, None], nullable=False) == ("float64", [1.0, None])


@pytest.fixture(scope="module")
def priced(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FeatureStore, TrainingSet]]:
    """A store with decimals and booleans, some of them NULL, of twenty customers."""
    settings = Settings(home=tmp_path_factory.mktemp("priced"), mlflow_tracking_uri=mlflow.get_tracking_uri())
    with FeatureStore(settings=settings) as store:
        count = range(20)
        columns = {
            "price": pa.array([None if n % 5 == 1 else Decimal(f"{n % 4}.10") for n in count], pa.decimal128(10, 2)),
            "cost": pa.array([Decimal(f"{n % 3}.25") for n in count], pa.decimal128(10, 2)),
            "active": [None if n % 5 == 0 else n % 2 == 0 for n in count],
        }
        load_source(store, "raw.a", pa.table({"customer_id": list(count), "t": pa.array([AT] * 20, STAMP), **columns}))
        source = Source("a", table="raw.a", timestamp="t")
        view = FeatureView("va", entity=Entity("customer", keys="customer_id"), source=source, features=list(columns))
        store.apply([FeatureService("priced", features=[view])])
        store.materialize(end="2026-03-20")
        rows = pd.DataFrame({"customer_id": count, "now": pd.Timestamp("2026-03-10", tz="UTC"), "label": [n % 2 for n in count]})
        yield store, store.training_set("priced", rows, timestamp="now", label="label")


@pytest.mark.parametrize("columns", [["price"], ["cost", "active"], ["price", "cost", "active"]])
@pytest.mark.parametrize("encoder", [OneHotEncoder, OrdinalEncoder])
def test_encoders_see_at_scoring_what_they_saw_in_training(
    priced: tuple[FeatureStore, TrainingSet], encoder: Any, columns: list[str]
) -> None:
    store, made = priced
    rows = made.to_pandas()
    model = make_pipeline(make_column_transformer((encoder(handle_unknown="error"), columns)), DecisionTreeClassifier(random_state=0))
    model.fit(rows[columns], rows["label"])
    info = models.log_model(model, training_set=made, pip_requirements=["scikit-learn"], store=store)
    for at in ("training", "online"):
        scored = models.score(info.model_uri, rows[["customer_id", "now"]], at=at, store=store)
        assert scored["prediction"].tolist() == model.predict(rows[columns]).tolist()


def test_decimals_of_models_that_early_releases_stamped_stay_doubles() -> None:
    values = [Decimal("1.10"), None]
    frame = partial(make_frame, [Input("price", "feature", "decimal128(10, 2)", True)], {"price": values}, named=True, matrix=False)
    assert frame(nullable=True)["price"].dtype == np.float64
    assert frame(nullable=True, exact=True)["price"].tolist() == values
    assert frame(nullable=False, exact=True)["price"].dtype == np.float64
