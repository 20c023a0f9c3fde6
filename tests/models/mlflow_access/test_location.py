"""The address of a store's models, and that every process finds it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, Settings, models
from featurestore.errors import Conflict, NotReady
from featurestore.masking import Secret
from featurestore.models.mlflow_access import health, location, tracking
from featurestore.records import model_events
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


@pytest.fixture(autouse=True)
def _unchosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process with its own working folder and no MLflow settings."""
    before = mlflow.get_tracking_uri()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mlflow, "last_active_run", lambda: None)
    mlflow.set_tracking_uri(None)
    yield
    mlflow.set_tracking_uri(before)


def found_by_another_process(folder: Path, store: FeatureStore) -> str:
    """How many models a new process in another folder finds that were trained on the store's orders."""
    code = (
        "import sys; from featurestore import FeatureStore, models\n"
        "with FeatureStore(home=sys.argv[1]) as store:\n"
        "    print(len(models.trained_on('customer_orders_v1', int(sys.argv[2]), store=store)))"
    )
    folder.mkdir()
    snapshot = next(view["snapshot_id"] for view in store.views() if view["name"] == "customer_orders")
    command = [sys.executable, "-c", code, str(store.settings.home_path()), str(snapshot)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_a_model_of_a_run_on_the_default_is_found_from_any_process(tmp_path: Path) -> None:
    made = worlds.build(tmp_path / "home")
    with made.store as store:
        # As a server does that looks for models before there are any.
        tracking.use_tracking(store.settings)
        mlflow.set_tracking_uri(None)
        with mlflow.start_run():
            models.log_model(made.model, training_set=made.training_set, registered_model_name="churn")
        default = f"sqlite:///{tmp_path}/mlflow.db"
        assert location.recorded_uri(store.settings) == default == health.check_tracking(store.settings)
        assert found_by_another_process(tmp_path / "elsewhere", store) == "1"
        (tmp_path / "mlflow.db").unlink()
        with pytest.raises(NotReady, match=r"mlflow\.db, which does not exist any more"):
            health.check_tracking(store.settings)


@pytest.mark.slow
def test_a_run_on_the_default_is_refused_where_models_are_elsewhere(world: World, logged: Any) -> None:
    kept = location.recorded_uri(world.store.settings)
    assert kept == f"sqlite:///{world.home}/featurestore-mlflow.db"
    with mlflow.start_run() as run, pytest.raises(Conflict, match=r"set_tracking_uri\('sqlite:///.*featurestore-mlflow\.db'\)"):
        models.log_model(world.model, training_set=world.training_set)
    assert not mlflow.get_run(run.info.run_id).outputs.model_outputs
    # Said aloud, another one is as good, and the store's stays where it was.
    mlflow.set_tracking_uri(mlflow.get_tracking_uri())
    tracking.use_tracking_to_log(world.store.settings)
    assert location.recorded_uri(world.store.settings) == kept


def test_what_is_named_goes_before_what_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=tmp_path / "home")
    assert location.tracking_uri(settings) is None
    assert "created when the first model is logged" in health.check_tracking(settings)
    location.record_uri(settings, "http://first:5000")
    assert location.tracking_uri(settings) == "http://first:5000"
    monkeypatch.setenv(location.VARIABLE, "http://variable:5000")
    assert location.tracking_uri(settings) == "http://variable:5000"
    assert (
        location.tracking_uri(settings.model_copy(update={"mlflow_tracking_uri": Secret.address("http://setting:5000")}))
        == "http://setting:5000"
    )


def test_another_machine_over_the_same_catalog_is_told(world: World, logged: Any, tmp_path: Path) -> None:
    place = model_events.logged_to(world.store.catalog, world.store.settings)
    assert place is not None
    assert place.startswith("sqlite:////")
    assert location.other_address(world.store.settings, None) is None
    properties = world.store.settings.catalog_properties()
    there = Settings(home=tmp_path / "there", catalog=properties, warehouse=properties["warehouse"])
    with FeatureStore(settings=there) as store:
        recorded = model_events.logged_to(store.catalog, there)
    assert recorded == place
    assert location.other_address(there, recorded) == location.default_uri(there)
    assert location.other_address(Settings(home=there.home, mlflow_tracking_uri=place), recorded) is None
    assert location.public_address("http://ann:secret@host:5000") == "http://ann:***@host:5000"


def test_a_note_is_its_owners_and_holds_no_password(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    location.record_uri(settings, "postgresql://me:hunter2hunter2@db/mlflow")
    assert location.recorded_uri(settings) is None
    location.record_uri(settings, "http://first:5000")
    (note,) = settings.home_path().iterdir()
    assert note.stat().st_mode & 0o077 == 0
    note.write_text("[]")
    with pytest.raises(NotReady, match="has no valid address"):
        location.recorded_uri(settings)


def test_addresses_mean_the_same_in_any_folder(tmp_path: Path) -> None:
    assert location.absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert location.absolute_uri("mlruns") == f"file://{tmp_path}/mlruns"
    assert location.absolute_uri("databricks://profile") == "databricks://profile"
