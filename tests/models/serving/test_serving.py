"""Models in a server: loaded once, found by version and alias, with features from the store."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd
import pytest

from featurestore import FeatureStore, models
from featurestore.errors import ModelError, NotFound, NotReady, RequestError
from featurestore.models import LoadedModels
from featurestore.values.json_numbers import NotANumber
from tests.models.vendor import VENDOR_WARNINGS, PythonModel, mlflow
from tests.models.worlds import UNKNOWN, World, keys

pytestmark = VENDOR_WARNINGS

RECORD = {"customer_id": 3, "basket": 10.0, "asked_at": "2026-03-25T00:00:00Z"}


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        """The present."""
        return self.now


@pytest.fixture(scope="module")
def served(world: World) -> str:
    """A registered model with two versions, the first one by the alias champion."""
    for _ in range(2):
        models.log_model(world.model, training_set=world.training_set, registered_model_name="served", pyfunc_predict_fn="predict_proba")
    models.set_alias("served", "champion", 1, approver="her", store=world.store)
    return "served"


@pytest.mark.slow
def test_it_says_what_the_pyfunc_says(world: World, served: str) -> None:
    answer = LoadedModels(world.store).get(served, version=2).predict([RECORD, {**RECORD, "customer_id": UNKNOWN}])
    expected = mlflow.pyfunc.load_model("models:/served/2").predict(keys(3, UNKNOWN))
    assert answer.predictions == expected.tolist()
    assert (answer.model, answer.version) == ("served", "2")
    assert answer.snapshots == world.training_set.snapshots
    assert answer.to_dict()["snapshots"] == {table: str(snapshot) for table, snapshot in world.training_set.snapshots.items()}


def test_features_sent_go_before(world: World, served: str) -> None:
    model = LoadedModels(world.store).get(served)
    plain, null, sent = model.predict([RECORD, {**RECORD, "o_spend_30d": None}, {**RECORD, "o_spend_30d": 1e6}]).predictions
    assert plain == null
    assert plain != sent


def test_version_alias_or_the_approved_one(world: World, served: str) -> None:
    loaded_models = LoadedModels(world.store)
    assert loaded_models.get(served) is loaded_models.get(served, alias="champion")
    assert loaded_models.get(served, version=1).version == loaded_models.get(served, alias="champion").version == "1"
    assert loaded_models.get(served, version="1") is loaded_models.get(served, alias="champion")


def test_without_an_approved_version_only_a_single_one_predicts(world: World) -> None:
    mlflow.MlflowClient().create_registered_model("unapproved")
    with pytest.raises(NotReady, match="model unapproved has no version: log one with registered_model_name='unapproved'"):
        LoadedModels(world.store).get("unapproved")
    models.log_model(world.model, training_set=world.training_set, registered_model_name="unapproved")
    assert LoadedModels(world.store).get("unapproved").version == "1"
    mlflow.MlflowClient().copy_model_version("models:/unapproved/1", "unapproved")
    with pytest.raises(NotReady, match=r"several versions, and none has the alias 'champion'.*models.set_alias\('unapproved', 'champion'"):
        LoadedModels(world.store).get("unapproved")
    settings = world.store.settings.model_copy(update={"default_alias": "live"})
    mlflow.MlflowClient().set_registered_model_alias("unapproved", "live", "2")
    with FeatureStore(settings=settings) as store:
        assert LoadedModels(store).get("unapproved").version == "2"


def test_a_moved_alias_is_seen_after_a_while(world: World, served: str) -> None:
    clock = Clock()
    loaded_models = LoadedModels(world.store, seconds=5, clock=clock)
    assert loaded_models.get(served, alias="champion").version == "1"
    models.set_alias(served, "champion", 2, approver="him", store=world.store)
    clock.now = 4
    assert loaded_models.get(served, alias="champion").version == "1"
    clock.now = 6
    assert loaded_models.get(served, alias="champion").version == "2"
    models.set_alias(served, "champion", 1, store=world.store)


def test_a_model_in_memory_needs_no_mlflow(world: World, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    loaded_models = LoadedModels(world.store, clock=clock)
    newest, first = loaded_models.get(served, version=2), loaded_models.get(served)

    def refuse(*_: Any, **__: Any) -> None:
        raise mlflow.exceptions.MlflowException("connection refused")

    monkeypatch.setattr(mlflow.MlflowClient, "get_registered_model", refuse)
    clock.now = 100
    assert loaded_models.get(served, version=2) is newest
    assert loaded_models.get(served) is loaded_models.get(served, alias="champion") is first
    assert loaded_models.find_loaded(served) is first
    with pytest.raises(NotReady, match="did not respond to a request for model served: connection refused"):
        LoadedModels(world.store).get(served)


def test_the_one_unused_for_longest_goes_first(world: World, served: str) -> None:
    loaded_models = LoadedModels(world.store, limit=1)
    first = loaded_models.get(served, version=1)
    loaded_models.get(served, version=2)
    assert loaded_models.get(served, version=1) is not first


def test_what_is_not_there_is_named(world: World, served: str) -> None:
    loaded_models = LoadedModels(world.store)
    with pytest.raises(NotFound, match=r"no model 'serve'.*did you mean 'served'"):
        loaded_models.get("serve")
    with pytest.raises(NotFound, match="no version '7' in model served; known: '1', '2'"):
        loaded_models.get(served, version=7)
    with pytest.raises(NotFound, match="no alias 'champ' in model served; did you mean 'champion'"):
        loaded_models.get(served, alias="champ")
    with pytest.raises(RequestError, match="not both"):
        loaded_models.get(served, version=1, alias="champion")


def test_what_is_wrong_in_a_record_is_named(world: World, served: str) -> None:
    model = LoadedModels(world.store).get(served)
    with pytest.raises(RequestError, match=r"records\[1\]: 'baskett'.*did you mean 'basket'"):
        model.predict([RECORD, {**RECORD, "baskett": 1}])
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"basket": 1.0, "asked_at": None}, "customer_id", "records[1] has no key 'customer_id', which view"),
        ({"customer_id": 1, "asked_at": None}, "basket", "records[1] has no 'basket' (DOUBLE), a request field of"),
        ({**RECORD, "customer_id": "three"}, "customer_id", "records[1].customer_id: 'three' is str, but the column is BIGINT"),
        ({**RECORD, "customer_id": 2**63}, "customer_id", "records[1].customer_id: 9223372036854775808 does not fit in BIGINT"),
        # What a caller sent is quoted as it is, whatever it looks like.
        ({**RECORD, "basket": "entities[0]"}, "basket", "records[1].basket: 'entities[0]' is str, but the column is DOUBLE"),
        ({**RECORD, "o_spend_30d": "much"}, "o_spend_30d", "records[1].o_spend_30d: 'much' is str, but the column is DOUBLE"),
        ({**RECORD, "age": NotANumber("nan")}, "age", "records[1].age: NaN is not a value of INTEGER"),
        ({**RECORD, "basket_vs_spend": "much"}, "basket_vs_spend", "records[1].basket_vs_spend: 'much' is str"),
    ]
    for record, field, message in wrong:
        with pytest.raises(RequestError) as caught:
            model.predict([RECORD, record])
        assert caught.value.message.startswith(message)
        assert caught.value.details["field"] == f"records[1].{field}"
    with pytest.raises(RequestError, match="is str, but must be an object"):
        model.predict(["3"])  # type: ignore[list-item]
    assert model.predict([]).predictions == []


def test_a_model_without_a_stamp_is_refused(world: World) -> None:
    mlflow.sklearn.log_model(world.model, name="b", registered_model_name="bare_model", pip_requirements=[], serialization_format="pickle")
    with pytest.raises(RequestError, match="models:/bare_model/1 has no stamp"):
        LoadedModels(world.store).get("bare_model")


def test_an_alias_that_cannot_be_loaded_at_the_start_is_named(world: World, served: str) -> None:
    mlflow.sklearn.log_model(world.model, name="c", registered_model_name="bare_live", pip_requirements=[], serialization_format="pickle")
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("bare_live", "live", "1")
    loaded = LoadedModels(world.store)
    loaded.load_aliased(["bare_live", served], lambda: False)
    [behind] = loaded.behind()
    assert str(behind) == "bare_live@live: version 1 cannot be loaded (RequestError), requests for it fail; see the log"
    assert loaded.find_loaded(served, alias="champion") is not None, "the others are loaded"
    client.delete_registered_model_alias("bare_live", "live")
    loaded.expire("bare_live")
    with pytest.raises(RequestError):
        loaded.get("bare_live")
    assert loaded.behind() == []


def test_many_threads_get_one_model(world: World, served: str) -> None:
    loaded_models = LoadedModels(world.store)

    def ask(customer: int) -> Any:
        model = loaded_models.get(served)
        return model, model.predict([{**RECORD, "customer_id": customer}]).predictions

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, [3, 4, 5, 6] * 5))
    assert len({id(model) for model, _ in answers}) == 1
    assert answers[0][1] == answers[4][1] == answers[8][1]


class Short(PythonModel):  # type: ignore[misc]
    """A model that answers once, however many rows there are."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """One prediction."""
        return [1.0]


class Looking(PythonModel):  # type: ignore[misc]
    """A model that looks for a column that it does not get."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """The age of each row."""
        return list(model_input["age"])


def test_an_answer_of_the_wrong_length_is_an_error(world: World) -> None:
    models.log_model(Short(), training_set=world.training_set, registered_model_name="short")
    model = LoadedModels(world.store).get("short")
    assert model.predict([RECORD]).predictions == [1.0]
    with pytest.raises(ModelError, match="gave 1 predictions for 2 rows"):
        model.predict([RECORD, RECORD])


def test_a_key_that_a_model_does_not_find_is_an_error_of_the_model(world: World) -> None:
    models.log_model(Looking(), training_set=world.training_set, registered_model_name="looking", inputs=["basket"])
    with pytest.raises(ModelError, match=r"looked for 'age' that is not in what it got \(KeyError\); it gets the columns basket"):
        LoadedModels(world.store).get("looking").predict([RECORD])
