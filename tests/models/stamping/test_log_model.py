"""Logging a model: four stamps, an unchanged native model, and errors for models that cannot be served."""

import time
from typing import Any

import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from featurestore import FeatureStore, models
from featurestore.errors import Conflict, RequestError
from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow
from tests.models.worlds import UNKNOWN, World, keys, spine

pytestmark = VENDOR_WARNINGS


def test_a_model_is_stamped_in_four_places(world: World, logged: Any) -> None:
    ts, client = world.training_set, mlflow.MlflowClient()
    orders = str(ts.snapshots["customer_orders_v1"])
    tag = "featurestore.snapshot.features.customer_orders_v1"
    metadata = mlflow.models.get_model_info(logged.model_uri).metadata["featurestore"]
    assert metadata["training_set"] == ts.id
    assert metadata["snapshots"]["features.customer_orders_v1"] == orders
    for tags in (client.get_logged_model(logged.model_id).tags, client.get_model_version("churn", "1").tags):
        assert tags["featurestore.training_set"] == ts.id
        assert tags["featurestore.digest"] == ts.digest
        assert tags[tag] == orders
    run = client.get_run(logged.run_id)
    dataset = run.inputs.dataset_inputs[0].dataset
    assert dataset.digest == ts.digest[:36]
    assert run.inputs.model_inputs[0].model_id == logged.model_id
    assert [found.info.run_id for found in client.search_runs(["0"], f"dataset.digest = '{ts.digest[:36]}'")].count(logged.run_id) == 1


def test_a_new_model_has_an_owner(world: World) -> None:
    def register(**more: Any) -> None:
        models.log_model(world.model, registered_model_name="owned", pip_requirements=[], **more)

    def owner() -> list[str]:
        return [grant.to for grant in world.store.grants("MODEL owned") if grant.privilege == "OWN"]

    with pytest.raises(RequestError, match="owner"):
        register(training_set=world.training_set, owner="risk")
    for on in ("SERVICE churn", "NAMESPACE training_sets"):
        world.store.grant("MANAGE", on, "USER her")
    made = world.store.as_principal("her").training_set("churn", spine(3), "t", "churned", "hers")
    register(training_set=made, store=world.store)
    assert owner() == ["USER her"], "by default, whoever built the training set"
    register(training_set=world.training_set, owner="GROUP risk")
    assert owner() == ["USER her"], "another version is no new model"
    mlflow.MlflowClient().delete_registered_model("owned")
    register(training_set=world.training_set, owner="GROUP risk")
    assert owner() == ["GROUP risk"]
    register(training_set=world.training_set)


def test_metrics_are_those_of_the_run_and_the_model(logged: Any) -> None:
    client = mlflow.MlflowClient()
    assert client.get_run(logged.run_id).data.metrics == {"auc": 0.75}
    assert [(metric.key, metric.value) for metric in client.get_logged_model(logged.model_id).metrics] == [("auc", 0.75)]


def test_without_a_run_one_is_made_and_ended(world: World, logged: Any) -> None:
    assert mlflow.active_run() is None
    assert mlflow.MlflowClient().get_run(logged.run_id).info.status == "FINISHED"


def test_an_active_run_is_used_and_goes_on(world: World) -> None:
    with mlflow.start_run() as run:
        info = models.log_model(world.model, training_set=world.training_set)
        active = mlflow.active_run()
        assert active is not None
        assert active.info.run_id == run.info.run_id
    assert info.run_id == run.info.run_id
    assert mlflow.models.get_model_info(f"runs:/{run.info.run_id}/churn").model_id == info.model_id


def test_the_native_model_is_untouched(world: World, logged: Any) -> None:
    native = mlflow.sklearn.load_model(logged.model_uri)
    rows = world.training_set.to_pandas()[world.inputs].astype("float64")
    assert type(native) is HistGradientBoostingClassifier
    assert (native.predict_proba(rows) == world.model.predict_proba(rows)).all()


def test_logging_takes_less_than_two_seconds(world: World, logged: Any) -> None:
    began = time.monotonic()
    models.log_model(world.model, training_set=world.training_set)
    assert time.monotonic() - began < 2


def test_the_signature_is_for_keys(logged: Any) -> None:
    required = {column.name: column.required for column in mlflow.models.get_model_info(logged.model_uri).signature.inputs}
    assert [name for name, needed in required.items() if needed] == ["customer_id", "basket", "asked_at"]
    assert required["o_spend_30d"] is False


def test_an_example_is_of_keys_too(world: World) -> None:
    example = keys(3)
    info = models.log_model(world.model, training_set=world.training_set, input_example=example)
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    assert loaded.input_example["customer_id"].tolist() == [3]
    assert len(loaded.predict(loaded.input_example)) == 1
    rows = world.training_set.to_pandas()
    info = models.log_model(world.model, training_set=world.training_set, input_example=rows.head(1))
    assert "churned" not in mlflow.pyfunc.load_model(info.model_uri).input_example.columns
    wrong: list[Any] = [rows[world.inputs].head(1), rows[world.inputs].head(1).to_numpy(), {"customer_id": 3}]
    for refused in wrong:
        with pytest.raises(RequestError, match=r"input_example: .*customer_id, basket, asked_at"):
            models.log_model(world.model, training_set=world.training_set, input_example=refused)


@pytest.mark.slow
def test_a_pipeline_with_a_function_of_ones_own_loads(world: World) -> None:
    rows = world.training_set.to_pandas()
    pipeline = make_pipeline(FunctionTransformer(lambda columns: columns.fillna(-1.0)), LogisticRegression(max_iter=10_000))
    fitted_on = rows[world.inputs].astype("float64")
    pipeline.fit(fitted_on, rows["churned"])
    told = {"signature": mlflow.models.infer_signature(fitted_on)}
    info = models.log_model(pipeline, training_set=world.training_set, inputs=world.inputs, **told)
    assert len(mlflow.pyfunc.load_model(info.model_uri).predict(keys(3, UNKNOWN))) == 2
    assert mlflow.sklearn.load_model(info.model_uri).predict(fitted_on).tolist()
    # Without it, the columns are those of `to_pandas`.
    untold = models.log_model(pipeline, training_set=world.training_set, inputs=world.inputs).model_uri
    with pytest.raises(RequestError, match=r"signature=infer_signature\(rows\).*Invalid value '-1.0' for dtype 'boolean'"):
        mlflow.pyfunc.load_model(untold).predict(keys(3, UNKNOWN))


def test_probabilities_instead_of_classes(world: World) -> None:
    info = models.log_model(world.model, training_set=world.training_set, pyfunc_predict_fn="predict_proba")
    assert mlflow.pyfunc.load_model(info.model_uri).predict(keys(3)).shape == (1, 2)


class Rule(PythonModel):  # type: ignore[misc]
    """A model of one's own, configured by name."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[str]:
        """Countries of big spenders, else a dash."""
        assert str(model_input["o_orders_30d"].dtype) == "Int64"
        rows = zip(model_input["country"], model_input["o_spend_30d"], strict=True)
        return [str(country) if spend > context.model_config["limit"] else "-" for country, spend in rows]


def test_a_python_model_gets_every_feature_and_its_own_configuration(world: World) -> None:
    info = models.log_model(Rule(), training_set=world.training_set, model_config={"limit": 1e9})
    assert mlflow.pyfunc.load_model(info.model_uri).predict(keys(4, UNKNOWN)) == ["-", "-"]
    assert mlflow.pyfunc.load_model(info.model_uri, model_config={"limit": 0.0}).predict(keys(4, UNKNOWN)) == ["DE", "-"]


def test_a_configuration_with_our_names_is_refused(world: World) -> None:
    with pytest.raises(RequestError, match=r"\['home'\]"):
        models.log_model(Rule(), training_set=world.training_set, model_config={"home": "x"})


def fit(world: World, columns: list[str], *, names: bool = True) -> Any:
    rows = world.training_set.to_pandas()
    inputs = rows[columns].astype("float64")
    return HistGradientBoostingClassifier(max_iter=2).fit(inputs if names else inputs.to_numpy(), rows["churned"])


def test_a_model_that_saw_its_label_is_refused(world: World) -> None:
    with pytest.raises(RequestError, match="'churned', the label"):
        models.log_model(fit(world, [*world.inputs, "churned"]), training_set=world.training_set)


def test_a_model_of_a_column_that_nobody_can_look_up_is_refused(world: World) -> None:
    model = fit(world, world.inputs)
    model.feature_names_in_[0] = "baskets"
    with pytest.raises(RequestError, match=r"'baskets', which is not a feature.*did you mean 'basket'"):
        models.log_model(model, training_set=world.training_set)


@pytest.mark.slow
def test_a_model_of_a_bare_matrix_needs_names(world: World) -> None:
    columns = world.inputs[:6]
    model = fit(world, columns, names=False)
    with pytest.raises(RequestError, match=r"does not name the columns .*inputs="):
        models.log_model(model, training_set=world.training_set)
    with pytest.raises(RequestError, match=r"matrix of 6 columns, but inputs=.* names 5"):
        models.log_model(model, training_set=world.training_set, inputs=columns[:5])
    info = models.log_model(model, training_set=world.training_set, inputs=columns)
    assert len(mlflow.pyfunc.load_model(info.model_uri).predict(keys(3))) == 1


def test_names_that_contradict_the_model_are_refused(world: World) -> None:
    with pytest.raises(RequestError, match="not the columns"):
        models.log_model(world.model, training_set=world.training_set, inputs=["age"])


def test_an_object_of_no_library_is_refused(world: World) -> None:
    with pytest.raises(RequestError, match="not a model of a known library"):
        models.log_model(object(), training_set=world.training_set)


def test_a_store_that_is_not_the_training_sets_is_refused(world: World, tmp_path: Any) -> None:
    with FeatureStore(home=tmp_path / "other") as other, pytest.raises(Conflict, match=r"has no table features\.customer_orders_v1"):
        models.log_model(world.model, training_set=world.training_set, store=other)
