"""Frames of pandas: NULL costs no digits, what people train with takes the frame as it is, and a name stands for one column."""

from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.errors import RequestError
from featurestore.values.pandas_frames import to_frame
from tests.worlds import STAMP, load_source

TABLE = pa.table({"big": [2**53 + 1, None, 3, 4], "flag": [True, None, False, True], "whole": [1, 2, 3, 4], "x": [0.5, None, 1.5, 2.5]})


def test_integers_and_booleans_with_nulls_are_nullable_and_keep_every_digit() -> None:
    frame = to_frame(TABLE)
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "boolean", "int64", "float64"]
    assert frame["big"][0] == 2**53 + 1
    assert frame["flag"].isna().tolist() == [False, True, False, False]
    plain = to_frame(TABLE, numpy=True)
    assert [str(kind) for kind in plain.dtypes] == ["float64", "object", "int64", "float64"]


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2)], ids=str)
def test_lists_of_integers_with_null_keep_every_digit(kind: pa.DataType) -> None:
    lists = [[2**53 + 1, None], [2**53 + 1, -1], None]
    table = pa.table({"x": pa.chunked_array([pa.array(lists[:1], kind), pa.array(lists[1:], kind)]), "y": [1, 2, 3]})
    frame = to_frame(table)
    assert [None if value is None else list(value) for value in frame["x"]] == lists
    assert isinstance(frame["x"][1], np.ndarray)
    assert list(to_frame(table, numpy=True)["x"][1]) == [2.0**53, -1.0]


def test_lists_without_null_and_lists_of_lists() -> None:
    frame = to_frame(pa.table({"plain": [[1, 2]], "deep": [[[2**53 + 1, None], None]], "halves": [[0.5, None]], "none": [None]}))
    assert (str(frame["plain"][0].dtype), str(frame["halves"][0].dtype)) == ("int64", "float64")
    assert [None if inner is None else list(inner) for inner in frame["deep"][0]] == [[2**53 + 1, None], None]


def test_what_people_train_with_takes_the_frame_as_it_is() -> None:
    frame, label = to_frame(TABLE), np.array([0, 1, 0, 1])
    assert len(HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=1).fit(frame, label).predict(frame)) == 4
    whole = to_frame(TABLE.slice(2))
    assert len(LogisticRegression().fit(whole, label[2:]).predict(whole)) == 2
    filled = make_pipeline(SimpleImputer(), LogisticRegression())
    boosted = lightgbm.LGBMClassifier(n_estimators=2, min_child_samples=1, verbose=-1)
    for model in (filled, boosted, xgboost.XGBClassifier(n_estimators=2), RandomForestClassifier(2)):
        assert len(model.fit(frame, label).predict(frame)) == 4
    assert xgboost.DMatrix(frame, label).num_col() == lightgbm.Dataset(frame, label, params={"verbose": -1}).construct().num_feature() == 4
    # It takes no missing value, of whatever type.
    with pytest.raises(ValueError, match="does not accept missing values"):
        LogisticRegression().fit(frame, label)


@pytest.mark.slow
def test_a_training_set_gives_nullable_columns_and_refuses_a_name_that_stands_twice(tmp_path: Path) -> None:
    with FeatureStore(home=tmp_path / "home") as store:
        at = pd.Timestamp("2026-03-01", tz="UTC")
        columns = {"k": pa.array([1, 2], pa.int64()), "t": pa.array([at, at], STAMP), "v": pa.array([2**53 + 1, 7], pa.int64())}
        load_source(store, "raw.a", pa.table({**columns, "b": [True, False]}))
        view = FeatureView("va", entity=Entity("e", keys="k"), source=Source("a", table="raw.a", timestamp="t"), features=["v", "b"])
        store.apply([FeatureService("svc", features=[view])])
        store.materialize(end="2026-03-20")
        spine = pd.DataFrame({"k": [1, 3], "now": [at, at]})
        frame = store.training_set("svc", spine, timestamp="now").to_pandas()
        assert (frame["v"][0], str(frame["v"].dtype), str(frame["b"].dtype)) == (2**53 + 1, "Int64", "boolean")
        assert frame["v"].isna().tolist() == [False, True]
        twice = pd.concat([spine, spine[["k"]]], axis=1)
        with pytest.raises(RequestError, match="more than one column called 'k'"):
            store.training_set("svc", twice, timestamp="now")
