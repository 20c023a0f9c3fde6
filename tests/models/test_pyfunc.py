"""A model loaded by MLflow looks up its features, and values from the caller override them."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from featurestore import FeatureStore, Settings, models
from featurestore.errors import Conflict, NotReady, RequestError
from featurestore.models.stamps import locate_store, stamp
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import UNKNOWN, World, keys

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]


@pytest.fixture(scope="module")
def probabilities(world: World) -> str:
    """The URI of the world's model, answering with probabilities, which move with every feature."""
    return str(models.log_model(world.model, training_set=world.training_set, pyfunc_predict_fn="predict_proba").model_uri)


def expected_predictions(world: World, sent: pd.DataFrame, **features: float) -> Any:
    """What the native model says about the newest features, looked up by the join and not by the online store."""
    at = worlds.END
    spine = sent.assign(t=at)
    plan = world.training_set.plan
    rows = world.store.point_in_time(plan, spine, "t").to_pandas().assign(**features)
    return world.model.predict_proba(rows[world.inputs].astype("float64"))


def test_from_keys_alone_it_says_what_the_native_model_says_of_the_features(world: World, probabilities: str) -> None:
    sent = keys(*range(worlds.CUSTOMERS), UNKNOWN)
    assert (mlflow.pyfunc.load_model(probabilities).predict(sent) == expected_predictions(world, sent)).all()


def test_a_feature_sent_goes_before_and_into_the_derived_ones(world: World, probabilities: str) -> None:
    loaded = mlflow.pyfunc.load_model(probabilities)
    sent = keys(3, 4)
    expected = expected_predictions(world, sent, o_spend_30d=5.0, basket_vs_spend=2.0)
    assert (loaded.predict(sent.assign(o_spend_30d=5)) == expected).all()
    assert (
        loaded.predict(sent.assign(o_spend_30d=5.0, basket_vs_spend=7.0))
        == expected_predictions(world, sent, o_spend_30d=5.0, basket_vs_spend=7.0)
    ).all()


def test_a_null_sent_is_no_feature_sent(world: World, probabilities: str) -> None:
    loaded = mlflow.pyfunc.load_model(probabilities)
    sent = keys(3, 4)
    mixed = loaded.predict(sent.assign(age=[np.nan, 90.0]))
    assert (mixed[0] == expected_predictions(world, sent)[0]).all()
    assert (mixed[1] == expected_predictions(world, sent, age=90.0)[1]).all()


@pytest.mark.parametrize(
    "asked_at",
    [
        "2026-03-25T01:00:00+01:00",
        datetime(2026, 3, 25),  # noqa: DTZ001 - what many callers have
        datetime(2026, 3, 25, tzinfo=UTC),
        datetime(2026, 3, 25, 2, tzinfo=timezone(timedelta(hours=2))),
        pd.Timestamp("2026-03-25", tz="Europe/Oslo"),
        np.datetime64("2026-03-25"),
    ],
)
def test_times_come_in_any_form(probabilities: str, asked_at: Any) -> None:
    assert mlflow.pyfunc.load_model(probabilities).predict(keys(3).assign(asked_at=asked_at)).shape == (1, 2)


def test_whole_numbers_do_for_a_double(world: World, probabilities: str) -> None:
    loaded = mlflow.pyfunc.load_model(probabilities)
    assert (loaded.predict(keys(3).assign(basket=80)) == loaded.predict(keys(3, basket=80.0))).all()


def test_integer_keys_with_a_null_fail_by_name(probabilities: str) -> None:
    with pytest.raises(mlflow.MlflowException, match=r"column customer_id.*missing values"):
        mlflow.pyfunc.load_model(probabilities).predict(keys(3, None))


def test_a_missing_key_or_request_field_fails_by_name(probabilities: str) -> None:
    for name in ("customer_id", "basket"):
        with pytest.raises(mlflow.MlflowException, match=rf"missing inputs \['{name}'\]"):
            mlflow.pyfunc.load_model(probabilities).predict(keys(3).drop(columns=name))


def test_a_model_that_takes_no_null_says_what_was_missing(world: World) -> None:
    rows = world.training_set.to_pandas().dropna(subset=["age"])
    linear = LogisticRegression().fit(rows[["basket", "age"]], rows["churned"])
    uri = models.log_model(linear, training_set=world.training_set).model_uri
    assert len(mlflow.pyfunc.load_model(uri).predict(keys(3))) == 1
    with pytest.raises(RequestError, match=r"some of which have no age"):
        mlflow.pyfunc.load_model(uri).predict(keys(3, UNKNOWN))


def test_a_key_without_features_can_be_refused(world: World, probabilities: str) -> None:
    strict = mlflow.pyfunc.load_model(probabilities, model_config={"missing": "error"})
    assert len(strict.predict(keys(3))) == 1
    with pytest.raises(RequestError, match="row 1 of the frame: o has no features for customer_id=999"):
        strict.predict(keys(3, UNKNOWN))
    stamped = models.log_model(world.model, training_set=world.training_set, missing="error").model_uri
    with pytest.raises(RequestError, match="row 0 of the frame: o has no features"):
        mlflow.pyfunc.load_model(stamped).predict(keys(UNKNOWN))
    with pytest.raises(RequestError, match="missing='guess'"):
        models.log_model(world.model, training_set=world.training_set, missing="guess")


def test_the_hint_leads_to_the_store_and_settings_go_before_it(
    probabilities: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    assert len(mlflow.pyfunc.load_model(probabilities).predict(keys(3))) == 1
    monkeypatch.setenv("FEATURESTORE_HOME", str(tmp_path / "empty"))
    with pytest.raises(Conflict, match=r"it has no table features\.customer_orders_v1"):
        mlflow.pyfunc.load_model(probabilities)
    model = mlflow.pyfunc.load_model(probabilities, model_config={"home": str(world.home)})
    assert len(model.predict(keys(3))) == 1
    assert len(models.score(probabilities, keys(3), at="online", store=world.store)) == 1


def test_a_store_with_tables_of_the_same_names_is_another_store(probabilities: str, tmp_path: Path) -> None:
    with FeatureStore(settings=Settings(home=tmp_path / "twin", mlflow_tracking_uri=mlflow.get_tracking_uri())) as twin:
        worlds.fill(twin)
        with pytest.raises(Conflict, match=r"its features\.customer_orders_v1 has the uuid .* but the stamp has"):
            models.score(probabilities, keys(3), at="online", store=twin)


def test_a_store_that_is_gone_is_not_made_anew(world: World, tmp_path: Path) -> None:
    hint = locate_store.describe_store(FeatureStore(home=tmp_path / "gone").settings)
    later_stamp = stamp.Stamp("churn-1", "", world.training_set.plan, {}, "t", None, "now", (), True, "nan", hint)
    with pytest.raises(NotReady, match="gone, which does not exist here"):
        locate_store.find_store(later_stamp)
    assert not (tmp_path / "gone").exists()


def test_editing_the_service_does_not_change_the_model(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "edited", mlflow.get_tracking_uri())
    with made.store as store:
        info = models.log_model(made.model, training_set=made.training_set, pyfunc_predict_fn="predict_proba", store=store)
        before = mlflow.pyfunc.load_model(info.model_uri).predict(keys(3, 4))
        store.apply([worlds.definitions("7d")])
        store.materialize(end=worlds.END)
        assert "o_orders_7d" in store.backend.service_plan("churn").feature_names
        assert (mlflow.pyfunc.load_model(info.model_uri).predict(keys(3, 4)) == before).all()
        scored = models.score(info.model_uri, worlds.spine(label=False), at="training")
        assert scored.column("o_orders_30d").to_pylist() == made.training_set.to_arrow().column("o_orders_30d").to_pylist()
