"""The datasets of a run lead to their rows, in a process that knows nothing but the run."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyiceberg.catalog import load_catalog

from featurestore.errors import Conflict, NotFound, RequestError
from featurestore.models.datasets.dataset import load_iceberg
from featurestore.models.datasets.dataset_source import SnapshotSource
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = [*VENDOR_WARNINGS, pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")]
FRESH = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
datasets = mlflow.get_run(sys.argv[2]).inputs.dataset_inputs
source = mlflow.data.get_source(datasets[0].dataset)
rows = source.load()
assert "featurestore.demo" not in sys.modules
print(rows.num_rows, rows.schema.names[0], source.name)
"""


ORDERS = (
    "from featurestore import models; models.log_model; import mlflow",
    "import mlflow",
    "import featurestore.models.datasets.dataset_source",
)


@pytest.mark.slow
@pytest.mark.parametrize("first", ORDERS)
def test_mlflow_has_the_constructor_whatever_is_imported_first(first: str) -> None:
    code = f"{first}; import mlflow; mlflow.data.load_iceberg"
    command = [sys.executable, "-W", "error::UserWarning:mlflow.data", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def dataset_of(run_id: str) -> Any:
    return mlflow.get_run(run_id).inputs.dataset_inputs[0].dataset


@pytest.mark.slow
def test_a_fresh_process_reads_the_rows_of_a_run(world: World, logged: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error::UserWarning:mlflow.data", "-c", FRESH, mlflow.get_tracking_uri(), logged.run_id]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FEATURESTORE_")}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"after `make setup`: {done.stderr}"
    snapshot = world.training_set.manifest["snapshot_id"]
    assert done.stdout.split() == ["300", "customer_id", f"training_sets.churn@{snapshot}"]


def test_what_mlflow_shows_names_table_snapshot_and_digest(world: World, logged: Any) -> None:
    dataset = dataset_of(logged.run_id)
    snapshot = world.training_set.manifest["snapshot_id"]
    assert (dataset.name, dataset.digest) == (f"training_sets.churn@{snapshot}", world.training_set.digest[:36])
    assert json.loads(dataset.profile)["num_rows"] == 300
    assert {"name": "age", "type": "integer", "required": False} in json.loads(dataset.schema)["mlflow_colspec"]


def test_pyiceberg_alone_reads_the_rows(world: World, logged: Any) -> None:
    source = json.loads(dataset_of(logged.run_id).source)
    table = load_catalog(**source["catalog"]).load_table(source["table"])
    rows = table.scan(snapshot_id=int(source["snapshot_id"])).to_arrow().sort_by("__fs_row")
    expected = world.training_set.to_arrow()
    assert rows.select(expected.schema.names).to_pylist() == expected.to_pylist()


def test_any_table_of_the_catalog_is_a_dataset(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_HOME", str(world.home))
    before = world.store.catalog.load_table("shop.orders").current_snapshot()
    assert before is not None
    frame = mlflow.data.from_pandas(pd.DataFrame({"a": [1]}), source=f"iceberg:shop.orders@{before.snapshot_id}", name="cleansed")
    with mlflow.start_run() as run:
        mlflow.log_input(load_iceberg("shop.orders"), "raw")
        mlflow.log_input(frame, "cleansed")
    entries = {entry.tags[0].value: entry.dataset for entry in mlflow.get_run(run.info.run_id).inputs.dataset_inputs}
    assert (entries["raw"].name, entries["raw"].digest) == (f"shop.orders@{before.snapshot_id}", str(before.snapshot_id))
    for dataset in entries.values():
        source = mlflow.data.get_source(dataset)
        assert isinstance(source, SnapshotSource)
        assert source.load().num_rows == 600
    with pytest.raises(NotFound, match=r"shop\.orders"):
        load_iceberg("shop.order")
    with pytest.raises(NotFound, match="snapshot"):
        load_iceberg("shop.orders", 1)
    with pytest.raises(RequestError, match="not a snapshot id"):
        load_iceberg("shop.orders", "newest")
    other = SnapshotSource({**source.to_dict(), "uuid": "other"})
    with pytest.raises(Conflict, match="another table"):
        other.load()
