"""The models of a split, while its aliases and their versions are removed in MLflow."""

from collections.abc import Callable

import pytest

from featurestore import models
from featurestore.errors import NotReady
from featurestore.models import LoadedModel, LoadedModels
from featurestore.models.serving.arms import Arms, removed_aliases
from featurestore.records.traffic_split import TrafficSplit
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


class Changing(LoadedModels):
    """Models of which something is changed in MLflow around the first load."""

    before_load: Callable[[], object] | None = None
    after_load: Callable[[], object] | None = None

    def _load(self, name: str, version: str) -> LoadedModel:
        before, self.before_load = self.before_load, None
        if before is not None:
            before()
        loaded = super()._load(name, version)
        after, self.after_load = self.after_load, None
        if after is not None:
            after()
        return loaded


SPLIT = TrafficSplit("splitting", {"challenger": 4000, "champion": 6000}, ("champion",), (("customer_id", "BIGINT"),), {})


@pytest.fixture
def splitting(world: World) -> str:
    """A registered model with an alias for each of its newest two versions."""
    infos = [models.log_model(world.model, training_set=world.training_set, registered_model_name="splitting") for _ in range(2)]
    for alias, info in zip(("champion", "challenger"), infos, strict=True):
        models.set_alias("splitting", alias, info.registered_model_version, store=world.store)
    return "splitting"


@pytest.mark.parametrize("followed", [False, True])
def test_an_alias_that_is_removed_while_a_request_loads_models_answers_it(world: World, splitting: str, followed: bool) -> None:
    loaded = Changing(world.store, followed=followed)

    def remove() -> None:
        mlflow.MlflowClient().delete_registered_model_alias(splitting, "champion")
        loaded.expire(splitting)

    loaded.after_load = remove
    arms = Arms(loaded)
    found = arms.find(SPLIT, load=True)
    assert found is not None
    assert {alias: arm.alias for alias, arm in found.items()} == {"challenger": "challenger", "champion": "champion"}
    assert found["challenger"].model.version != found["champion"].model.version
    found = arms.find(SPLIT, load=True)
    assert found is not None
    assert {arm.alias for arm in found.values()} == {"challenger"}
    assert arms.shadows(SPLIT) == []
    [removed] = removed_aliases(loaded, [SPLIT])
    assert str(removed) == "splitting: the traffic names champion, which MLflow has no more, challenger answers in place"


def test_a_version_that_is_deleted_before_it_is_loaded_leaves_its_share(world: World, splitting: str) -> None:
    loaded = Changing(world.store, followed=True)
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias(splitting, "challenger").version
    loaded.before_load = lambda: client.delete_model_version(splitting, version)
    found = Arms(loaded).find(SPLIT, load=True)
    assert found is not None
    assert {arm.alias for arm in found.values()} == {"champion"}


def test_a_split_whose_aliases_were_all_removed_is_named(world: World, splitting: str) -> None:
    loaded = LoadedModels(world.store)
    for alias in SPLIT.answering:
        mlflow.MlflowClient().delete_registered_model_alias(splitting, alias)
    with pytest.raises(NotReady, match="MLflow has no such alias any more"):
        Arms(loaded).find(SPLIT, load=True)
    assert str(removed_aliases(loaded, [SPLIT])[0]).endswith("challenger and champion, which MLflow has no more, requests fail")
