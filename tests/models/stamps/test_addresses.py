"""Every function with a model's address accepts all forms of MLflow's addresses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.models.vendor import VENDOR_WARNINGS, mlflow  # isort: skip - before anything else imports it
from featurestore import models
from featurestore.errors import NotFound, RequestError
from tests.models import worlds
from tests.models.worlds import World

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]

Address = Callable[[Any, Path], str]

ADDRESSES: dict[str, Address] = {
    "version": lambda info, folder: f"models:/addressed/{info.registered_model_version}",
    "latest": lambda info, folder: "models:/addressed/latest",
    "stage": lambda info, folder: "models:/addressed/production",
    "alias": lambda info, folder: "models:/addressed@champion",
    "logged model": lambda info, folder: f"models:/{info.model_id}",
    "run": lambda info, folder: f"runs:/{info.run_id}/addressed",
    "folder": lambda info, folder: str(folder / "model"),
    "file": lambda info, folder: (folder / "model").as_uri(),
}


@pytest.fixture(scope="module")
def addressed(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    info = models.log_model(world.model, training_set=world.training_set, name="addressed", registered_model_name="addressed")
    models.set_alias("addressed", "champion", info.registered_model_version, store=world.store)
    with pytest.warns(FutureWarning):
        mlflow.MlflowClient().transition_model_version_stage("addressed", info.registered_model_version, "Production")
    folder = tmp_path_factory.mktemp("downloaded")
    mlflow.artifacts.download_artifacts(f"models:/{info.model_id}", dst_path=str(folder / "model"))
    return info, folder


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("form", ADDRESSES)
def test_every_form_of_address_reaches_the_model(world: World, addressed: tuple[Any, Path], form: str) -> None:
    uri = ADDRESSES[form](*addressed)
    assert models.training_set(uri, world.store.settings)["id"] == world.training_set.id
    assert world.store.rebuild(uri).digest == world.training_set.digest
    scored = models.score(uri, worlds.spine(rows=3), at="training", log=True, store=world.store)
    assert scored.num_rows == 3
    assert models.attach(uri, training_set=world.training_set, store=world.store) is not None
    if form not in ("folder", "file"):
        assert [link.kind for link in world.store.audit(uri).links][-1] == "predictions"
    assert world.store.compare(uri, world.training_set.id)["rows"]["common"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("stage, said", [("Staging", "known: 'Production'"), ("Prodution", "did you mean 'Production'")])
def test_a_stage_without_a_version_is_told_so(world: World, addressed: tuple[Any, Path], stage: str, said: str) -> None:
    calls = (world.store.rebuild, world.store.audit, lambda at: models.score(at, worlds.spine(rows=1), at="training", store=world.store))
    for call in calls:
        with pytest.raises(NotFound, match=f"no version in stage .* in model addressed.*{said}"):
            call(f"models:/addressed/{stage}")


@pytest.mark.parametrize(
    "uri", ["models:/", "models:/x/1/2", "models:/x@", "models:/../../x", "models:/x/ ", "models://host/x/1", "runs:/", "runs:/x"]
)
def test_what_is_no_address_is_told_so(world: World, uri: str) -> None:
    with pytest.raises((RequestError, NotFound), match=r"(is not the address of a model|no model)"):
        world.store.rebuild(uri)
