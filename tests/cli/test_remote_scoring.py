"""`score --url`: rows of a file are sent to a server, and predictions come back in their order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.models.vendor import VENDOR_WARNINGS, PythonModel  # isort: skip - before anything else imports MLflow

from featurestore import FeatureStore, connect, models
from featurestore.client.scoring import ROWS
from tests import shop
from tests.cli.running import run

pytestmark = [pytest.mark.slow, *VENDOR_WARNINGS]

INPUTS = ["basket", "spend_30d"]
FORMAT = ["delimiter=;", "decimal=,", "null=NA", "date=%d.%m.%Y", "types.code=string"]


class Sum(PythonModel):  # type: ignore[misc]
    """Basket and spending, so that each row has a prediction of its own; a thousand without a basket."""

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:
        """One number for each row."""
        basket = model_input["basket"].fillna(1000.0)
        return list((basket + model_input["spend_30d"].fillna(0.0)).astype(float))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with shop.open_shop(tmp_path_factory.mktemp("shop")) as store:
        made = store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        models.log_model(Sum(), training_set=made, registered_model_name="sum", store=store, inputs=INPUTS, pip_requirements=["mlflow"])
        yield store


@pytest.fixture(scope="module")
def url(home: FeatureStore) -> Iterator[str]:
    with shop.serving(home) as address:
        yield address


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def score_into_file(spine: str, url: str, form: list[str]) -> pa.Table:
    """What the command writes."""
    options = [part for field in form for part in ("--format", field)]
    done = run("score", "models:/sum/1", "--spine", spine, "--at", "online", "--url", url, "--out", "scored.parquet", *options)
    assert done.exit_code == 0, done.output
    return pq.read_table("scored.parquet")


def test_rows_of_csv_files_are_read_as_their_format_says(home: FeatureStore, url: str, folder: Path) -> None:
    lines = ["customer_id;basket;code;day", "1;1,5;007;25.03.2026", "2;2;008;26.03.2026", "99;NA;NA;NA", "NA;3;x;NA"]
    (folder / "asked.csv").write_text("\n".join(lines) + "\n")
    rows = score_into_file("asked.csv", url, FORMAT)
    assert rows.schema.names == ["customer_id", "basket", "code", "day", "prediction"]
    assert rows.column("basket").to_pylist() == [1.5, 2.0, None, 3.0]
    assert rows.column("code").to_pylist() == ["007", "008", None, "x"]
    [first, second] = home.online_features("plain", [{"customer_id": 1}, {"customer_id": 2}]).rows
    spend = home.online_features("plain", []).features.index("spend_30d")
    assert first[spend] == 80.0
    assert rows.column("prediction").to_pylist() == [81.5, 2.0 + (second[spend] or 0.0), 1000.0, 3.0]
    at_home = models.score("models:/sum/1", rows.select(["customer_id", "basket"]), at="online", store=home)
    assert rows.column("prediction").equals(at_home.column("prediction"))


def test_files_of_more_rows_than_a_request_keep_their_order(url: str, folder: Path) -> None:
    count = 2 * ROWS + 1
    (folder / "many.csv").write_text("customer_id;basket\n" + "".join(f"99;{row},5\n" for row in range(count)))
    rows = score_into_file("many.csv", url, ["delimiter=;", "decimal=,"])
    assert rows.column("prediction").to_pylist() == [row + 0.5 for row in range(count)]


def test_a_file_without_rows_has_no_predictions(url: str, folder: Path) -> None:
    pq.write_table(pa.table({"customer_id": pa.array([], pa.int64()), "basket": pa.array([], pa.float64())}), folder / "none.parquet")
    rows = score_into_file("none.parquet", url, [])
    assert (rows.num_rows, rows.schema.names) == (0, ["customer_id", "basket", "prediction"])


@pytest.mark.parametrize(
    "spine, form, message",
    [
        ("asked.csv", ["delimiter=ab"], "delimiter"),
        ("asked.csv", ["date=%d.%m.%Y", "types.day=date"], "asked.csv, line 2, column 'day'"),
        ("asked.parquet", ["delimiter=;"], "ends in .csv"),
        ("nothing.csv", ["delimiter=;"], "nothing.csv"),
    ],
)
def test_a_format_that_does_not_fit_is_told(url: str, folder: Path, spine: str, form: list[str], message: str) -> None:
    (folder / "asked.csv").write_text("customer_id,basket,day\n1,2,2026-03-25\n")
    pq.write_table(pa.table({"customer_id": [1], "basket": [2.0]}), folder / "asked.parquet")
    options = [part for field in form for part in ("--format", field)]
    refused = run("score", "models:/sum/1", "--spine", spine, "--at", "online", "--url", url, *options)
    assert refused.exit_code == 1, refused.output
    assert message in refused.stderr


def test_a_client_scores_frames_in_kind(home: FeatureStore, url: str) -> None:
    frame = pd.DataFrame({"customer_id": [1, 99], "basket": [1.5, 2.0], "note": ["a", "b"]})
    with connect(url) as remote:
        scored_frame = remote.score("models:/sum/1", frame)
        assert isinstance(scored_frame, pd.DataFrame)
        assert scored_frame.to_dict("list") == {**frame.to_dict("list"), "prediction": [81.5, 2.0]}
        assert remote.score("models:/sum/1", pa.Table.from_pandas(frame))["prediction"].to_pylist() == [81.5, 2.0]
        predictions = remote.predict("sum", [{"customer_id": 1, "basket": 1.5}])
        assert (predictions.predictions, predictions.model, predictions.version) == ([81.5], "sum", "1")
        assert predictions.snapshots == {view.table.removeprefix("features."): view.snapshot_id for view in home.views()}
        assert predictions["predictions"] == [81.5]
