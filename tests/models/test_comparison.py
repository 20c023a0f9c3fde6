"""Comparing registered models by their training sets: in Python, on the command line, and over HTTP."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pyarrow as pa
import pytest

from featurestore import FeatureStore, Settings, connect, models
from featurestore.errors import NotFound
from featurestore.models.mlflow_access import tracking
from featurestore.pipelines.training_sets.comparison_result import Comparison
from tests.cli.running import run
from tests.models import worlds
from tests.models.vendor import VENDOR_WARNINGS
from tests.models.worlds import DAY, END, START, World
from tests.shop import serving
from tests.worlds import STAMP

pytestmark = [*VENDOR_WARNINGS, pytest.mark.slow]


def spine() -> pa.Table:
    """The usual rows, and some from after the end of the first run."""
    late = worlds.spine(40)
    later = pa.array([END + 5 * DAY + n * timedelta(minutes=1) for n in range(40)], STAMP)
    return pa.concat_tables([worlds.spine(), late.set_column(late.schema.get_field_index("t"), "t", later)])


def add_orders(store: FeatureStore, *days: float) -> None:
    """New orders of every third customer, so many days after the start."""
    rows = [(customer, 7.0, START + day * DAY) for day in days for customer in range(0, worlds.CUSTOMERS, 3)]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), (pa.int64(), pa.float64(), STAMP), strict=True)]
    store.catalog.load_table("shop.orders").append(pa.table(dict(zip(("customer_id", "amount", "ordered_at"), columns, strict=True))))


def log(store: FeatureStore) -> None:
    """The next version of the model, trained on what is there now."""
    made = store.training_set("churn", spine=spine(), timestamp="t", label="churned")
    inputs = ["basket", "age", *(name for name in made.features if name not in ("age", "country"))]
    rows = made.to_pandas()
    models.log_model(worlds.fit(rows[inputs], rows["churned"]), training_set=made, name="compared", registered_model_name="compared")


@pytest.fixture(scope="module")
def store(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """Versions 1 to 4 of a model: as it began, after new orders, after late ones, and after a change of the view."""
    shared = f"sqlite:///{world.home}/featurestore-mlflow.db"
    with FeatureStore(settings=Settings(home=tmp_path_factory.mktemp("shop"), mlflow_tracking_uri=shared)) as store:
        tracking.use_tracking(store.settings)
        worlds.fill(store)
        log(store)
        add_orders(store, 92, 93)
        store.materialize(end=END + 10 * DAY)
        log(store)
        add_orders(store, 40)
        assert sum(run.corrections for run in store.materialize(end=END + 10 * DAY)) > 0
        log(store)
        store.apply([worlds.definitions("60d")])
        store.materialize(end=END + 10 * DAY)
        log(store)
        models.set_alias("compared", "champion", 4, store=store)
        yield store


def because(found: Comparison, feature: str) -> list[str]:
    """What is said of a feature, without what differs from run to run."""
    return [said.split(":")[0].split(" through ")[0] for said in found.features.common[feature].because]


def test_models_are_compared_by_what_they_were_trained_on(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # One test: each worker of the run would make the fixture for itself.
    new_rows_are_told_by_the_snapshot_and_the_watermark(store)
    late_rows_are_told_as_corrections(store)
    a_change_of_definition_is_told_with_its_difference(store)
    the_command_line_and_a_server_say_the_same(store, monkeypatch)


def new_rows_are_told_by_the_snapshot_and_the_watermark(store: FeatureStore) -> None:
    comparison = store.compare("models:/compared/1", "models:/compared/2")
    assert comparison["definitions"] == []
    assert comparison["rows"] == {"a": 340, "b": 340, "common": 340, "added": 0, "gone": 0}
    assert because(comparison, "o_spend_30d") == ["source shop.orders", "customer_orders_v1 was materialized"]
    assert 0 < comparison["features"]["common"]["o_spend_30d"]["changed"] <= 40, "only rows after the first run's end can know better"
    assert because(comparison, "basket_vs_spend") == because(comparison, "o_spend_30d")
    assert (because(comparison, "age"), comparison["features"]["common"]["age"]["changed"]) == ([], 0)


def late_rows_are_told_as_corrections(store: FeatureStore) -> None:
    comparison = store.compare("models:/compared/2", "models:/compared/3")
    assert because(comparison, "o_orders_30d") == ["source shop.orders", "corrections in customer_orders_v1"]
    assert 0 < comparison["features"]["common"]["o_orders_30d"]["changed"] < 340
    assert because(comparison, "country") == []


def a_change_of_definition_is_told_with_its_difference(store: FeatureStore) -> None:
    comparison = store.compare("models:/compared/3", "models:/compared@champion")
    assert next((change.get("view") or change["derived"], change["from"], change["to"]) for change in comparison["definitions"]) == (
        "customer_orders",
        1,
        2,
    )
    assert {change.get("view") or change["derived"] for change in comparison["definitions"]} == {"customer_orders", "basket_vs_spend"}
    assert comparison["features"]["gone"] == ["o_orders_30d", "o_spend_30d"]
    assert comparison["features"]["added"] == ["o_orders_60d", "o_spend_60d"]
    assert comparison["features"]["common"]["o_mean"]["because"] == ["definition: customer_orders_v1 became customer_orders_v2"]
    assert "definition: its SQL changed" in comparison["features"]["common"]["basket_vs_spend"]["because"]


def the_command_line_and_a_server_say_the_same(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    home = str(store.settings.home)
    monkeypatch.setenv("FEATURESTORE_MLFLOW_TRACKING_URI", str(store.settings.mlflow_tracking_uri))
    for a, b in (("1", "2"), ("3", "4")):
        uris = f"models:/compared/{a}", f"models:/compared/{b}"
        done = run("diff", *uris, "--home", home, "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout) == store.compare(*uris)
    shown = run("diff", "models:/compared/2", "models:/compared/3", "--home", home).stdout
    assert "corrections in customer_orders_v1" in " ".join(shown.split())
    refused = run("diff", "models:/compared/2", "models:/compared/9", "--home", home)
    assert refused.exit_code == 1
    assert "compared/9" in refused.stderr
    with serving(store, jobs=True) as url, connect(url) as remote:
        assert remote.compare("models:/compared/1", "models:/compared@champion") == store.compare(
            "models:/compared/1", "models:/compared/4"
        )
        with pytest.raises(NotFound, match="compared/9"):
            remote.compare("models:/compared/1", "models:/compared/9")
