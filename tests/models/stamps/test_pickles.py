"""If `allow_pickle` is false, models whose files can execute code are not loaded, whatever their MLmodel says."""

import io
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.linear_model import LinearRegression

from featurestore import FeatureStore, models
from featurestore.errors import RequestError
from featurestore.models.serving.loaded_model import LoadedModel
from featurestore.models.stamps import pickles
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS

MARK = "ran"


class Harm:
    """Runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = str(mark)

    def __reduce__(self) -> Any:
        return (open, (self._mark, "w"))


@pytest.fixture(scope="module")
def skops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as MLflow writes it without pickles."""
    import mlflow.sklearn  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("model") / "skops"
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    mlflow.sklearn.save_model(model, str(folder), serialization_format="skops", pip_requirements=["scikit-learn"])
    return folder


@pytest.fixture
def folder(skops: Path, tmp_path: Path) -> Path:
    """A copy of it to tamper with."""
    return Path(shutil.copytree(skops, tmp_path / "model"))


def tamper(folder: Path, flavor: str, **values: Any) -> Path:
    meta = yaml.safe_load((folder / "MLmodel").read_text())
    meta["flavors"].setdefault(flavor, {}).update(values)
    (folder / "MLmodel").write_text(yaml.safe_dump(meta))
    return folder


def booster(folder: Path, library: str, name: str, **values: Any) -> Path:
    for old in folder.glob("model.*"):
        old.unlink()
    (folder / name).write_bytes(b"{}")
    tamper(folder, "python_function", loader_module=f"mlflow.{library}", data=name)
    return tamper(folder, library, data=name, **values)


@pytest.mark.slow
def test_formats_of_data_are_let_in(folder: Path) -> None:
    pickles.refuse_pickles(folder)
    pickles.refuse_pickles(tamper(folder, "sklearn", skops_trusted_types=["sklearn.tree._tree.Tree"]))
    for library, name, kind in (
        ("xgboost", "model.ubj", "xgboost.sklearn.XGBRegressor"),
        ("xgboost", "model.json", "xgboost.core.Booster"),
        ("lightgbm", "model.lgb", "lightgbm.basic.Booster"),
    ):
        pickles.refuse_pickles(booster(folder, library, name, model_class=kind))


@pytest.mark.parametrize(
    "flavor, values, said",
    [
        ("python_function", {"loader_module": "mlflow.pyfunc.model"}, "loaded by"),
        ("python_function", {"loader_module": "mlflow.pytorch"}, "loaded by"),
        ("python_function", {"loader_module": "evil"}, "loaded by"),
        ("python_function", {"code": "code"}, "Python files"),
        ("sklearn", {"code": "code"}, "Python files"),
        ("sklearn", {"serialization_format": "cloudpickle"}, "written with cloudpickle"),
        ("sklearn", {"serialization_format": "pickle"}, "written with pickle"),
        ("sklearn", {"skops_trusted_types": ["os.system"]}, r"may contain os\.system"),
    ],
)
def test_what_an_mlmodel_may_say(folder: Path, flavor: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=f"(?s)refused.*{said}.*allow_pickle"):
        pickles.refuse_pickles(tamper(folder, flavor, **values))


def test_what_a_boosters_mlmodel_may_say(folder: Path) -> None:
    for library, kind in (("xgboost", "os.system"), ("xgboost", "xgboostevil.X"), ("lightgbm", "lightgbm.sklearn.LGBMClassifier")):
        with pytest.raises(RequestError, match="of the class"):
            pickles.refuse_pickles(booster(folder, library, "model.json", model_class=kind))
    with pytest.raises(RequestError, match="cloudpickle"):
        pickles.refuse_pickles(booster(folder, "lightgbm", "model.json", serialization_format="cloudpickle"))


def archives() -> Iterator[tuple[str, bytes]]:
    """Files that hold a pickle, by names that they may have."""
    pickled = pickle.dumps(Harm(Path("/nowhere")))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("data.pkl", pickled)
    yield from [("model.pkl", pickled), ("model.json", pickled), ("model.pth", stream.getvalue()), ("model.skops", stream.getvalue())]
    yield from [("model.txt", stream.getvalue()), ("deep/model.joblib", b"x"), ("code/evil.py", b""), ("model", pickled), ("x.PKL", b"")]


@pytest.mark.parametrize("name, content", list(archives()))
def test_what_files_may_hold(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(RequestError, match="its file"):
        pickles.refuse_pickles(folder)


def refusing(world: World) -> FeatureStore:
    return FeatureStore(settings=world.store.settings.model_copy(update={"allow_pickle": False}))


def test_a_pickled_model_is_neither_served_nor_scored(world: World, logged: Any, tmp_path: Path) -> None:
    with refusing(world) as store:
        with pytest.raises(RequestError, match="allow_pickle"):
            LoadedModel(logged.model_uri, store)
        with pytest.raises(RequestError, match="allow_pickle"):
            models.score(logged.model_uri, worlds.spine(label=False), at="training", store=store)
    assert LoadedModel(logged.model_uri, world.store).stamp.training_set == world.training_set.id


def test_a_pickled_model_is_refused_by_mlflows_own_loading_and_named(world: World, logged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"home": str(world.home)}
    monkeypatch.setenv("FEATURESTORE_ALLOW_PICKLE", "false")
    named = "the model of the flavor sklearn is refused, because its file model.pkl is written with cloudpickle"
    with pytest.raises(RequestError, match=named):
        mlflow.pyfunc.load_model(logged.model_uri, model_config=config)
    monkeypatch.setenv("FEATURESTORE_ALLOW_PICKLE", "true")
    assert len(mlflow.pyfunc.load_model(logged.model_uri, model_config=config).predict(worlds.keys(3))) == 1


def test_what_runs_or_unpickles_which_file_is_named(folder: Path) -> None:
    for values, said in (
        ({"model_code_path": "/home/me/model.py"}, "runs its file model.py: a model from code is code"),
        ({"model_code_path": None, "python_model": "python_model.pkl"}, r"unpickles its file python_model\.pkl"),
        ({"python_model": None, "data": "data"}, "may unpickle files below data"),
    ):
        with pytest.raises(RequestError, match=f"of the flavor pyfunc.model is refused, because it is loaded by .*{said}"):
            pickles.refuse_pickles(tamper(folder, "python_function", loader_module="mlflow.pyfunc.model", **values))
