"""The wheel in an empty environment: the package and what it declares are enough for a first hour without models.

Tests elsewhere run in an environment that has pandas, MLflow and pytest, so that an import of one of them goes unnoticed there.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from uv import find_uv_bin

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parent.parent
ABSENT = ("pandas", "polars", "sklearn", "mlflow", "threadpoolctl", "psycopg2", "torch", "pytest")
TRAINING = ("churn", "--spine", "data/observations.parquet", "--timestamp", "observed_at", "--label", "churned")
FRAME = """
from featurestore import FeatureStore
from featurestore.errors import MissingExtra
store = FeatureStore()
training = store.training_set("churn", spine="data/observations.parquet", timestamp="observed_at", label="churned")
assert training.to_arrow().num_rows == 450
try:
    training.to_pandas()
except MissingExtra as error:
    print(error)
"""


@dataclass
class Installed:
    """An environment with the wheel, and the folder of a project."""

    environment: Path
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        program = str(self.environment / "bin" / command[0])
        return subprocess.run(
            [program, *command[1:]], cwd=self.folder, env=variables(), capture_output=True, text=True, timeout=60, check=False
        )

    def printed(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout


def variables() -> dict[str, str]:
    """This process' variables, without those that would lead back to the checkout or change the store."""
    ours = ("FEATURESTORE_", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def uv(*arguments: str) -> None:
    done = subprocess.run(
        [find_uv_bin(), *arguments], cwd=CHECKOUT, env=variables(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built here and installed with what it declares; a project made and filled by its commands."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "environment"
    uv("build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder / "wheel"), ".")
    (wheel,) = (folder / "wheel").glob("*.whl")
    uv("venv", "--quiet", "--python", sys.executable, str(environment))
    uv("pip", "install", "--quiet", "--python", str(environment / "bin" / "python"), str(wheel))
    Installed(environment, folder).printed("featurestore", "init", "shop")
    project = Installed(environment, folder / "shop")
    project.printed("featurestore", "apply")
    filled = json.loads(project.printed("featurestore", "materialize", "--json"))
    assert [view["published"] for view in filled] == [50, 50]
    return project


def test_nothing_is_there_but_what_the_package_declares(installed: Installed) -> None:
    look = f"from importlib.util import find_spec; print([name for name in {ABSENT} if find_spec(name)])"
    assert installed.printed("python", "-c", look).strip() == "[]"
    place = installed.printed("python", "-c", "import featurestore; print(featurestore.__file__)")
    assert Path(place).is_relative_to(installed.environment)


def test_training_sets_and_lookups_work(installed: Installed) -> None:
    training = json.loads(installed.printed("featurestore", "training-set", *TRAINING, "--json"))
    assert training["rows"] == 450
    assert training["id"] in installed.printed("featurestore", "show", "training-sets")
    assert "customer_orders" in installed.printed("featurestore", "show", "views")
    assert "PRESENT" in installed.printed("featurestore", "online", "churn", "customer_id=13", "--request", "basket=80")


def test_doctor_is_content_and_says_what_models_need(installed: Installed) -> None:
    told = installed.printed("featurestore", "doctor")
    assert "no problems found" in told
    assert "pip install 'featurestore[mlflow]'" in told


def test_it_serves(installed: Installed) -> None:
    command = [str(installed.environment / "bin" / "featurestore"), "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=installed.folder, env=variables(), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            body = {"entities": [{"customer_id": 13}], "request": [{"basket": 80}]}
            looked_up = httpx.post(f"{url}/v1/services/churn/online", json=body, timeout=30).json()
            assert looked_up["status"] == {"customer_orders": ["PRESENT"], "customer_profile": ["PRESENT"]}
            assert httpx.get(f"{url}/docs", timeout=30).is_success
            ready = httpx.get(f"{url}/readyz", timeout=30).json()
            assert {part for part, state in ready.items() if state != "ok"} == {"models", "predictions"}
            assert ready["models"] == ready["predictions"] == "not installed"
            assert "pip install 'featurestore[mlflow]' where the server runs" in installed.printed("featurestore", "--url", url, "doctor")
            refused = httpx.post(f"{url}/v1/models/churn/invocations", json={"dataframe_records": [{"customer_id": 13}]}, timeout=30)
            assert refused.status_code == 503, refused.text
            assert refused.json()["error"]["type"] == "MissingExtra"
        finally:
            server.terminate()
            assert server.wait(30) == 0


@pytest.mark.parametrize(
    "command, extra",
    [
        (("python", "-c", FRAME), "featurestore[pandas]"),
        (("featurestore", "score", "models:/churn/1", "--spine", "data/observations.parquet"), "featurestore[mlflow]"),
        (("featurestore", "demo"), "featurestore[demo]"),
    ],
    ids=["to_pandas", "score", "demo"],
)
def test_what_needs_more_says_so(installed: Installed, command: tuple[str, ...], extra: str) -> None:
    done = installed.run(*command)
    told = done.stdout + done.stderr
    assert f"which is not installed here: pip install '{extra}'" in told
    assert "Traceback" not in told
