"""OpenLineage events of materializations and training sets, checked by hand against the specification."""

import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, FeatureView, Settings, Source, check
from featurestore.errors import FeatureStoreError, NotFound
from featurestore.pipelines.lineage_events.datasets import location_name
from featurestore.pipelines.lineage_events.facets import DatasetName
from featurestore.values import times
from tests.lineage_world import customer, open_lineage_world

pytestmark = pytest.mark.slow

SPEC = "https://openlineage.io/spec"
Event = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("events")


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[FeatureStore]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATURESTORE_OPENLINEAGE_URL", str(home / "events.jsonl"))
        patch.setenv("FEATURESTORE_OPENLINEAGE_NAMESPACE", "shop-features")
        with open_lineage_world(home) as opened:
            sql = "SELECT customer_id, basket + 1 AS basket, at, label FROM shop.labels WHERE NOT label OR basket > 0"
            for _ in range(2):
                # The second is the first, so that nothing runs.
                opened.training_set("churn", sql, timestamp="at", label="label", name="second")
            yield opened


@pytest.fixture(scope="module")
def events(store: FeatureStore, home: Path) -> list[Event]:
    store.close()
    return read_events(home)


def read_events(home: Path) -> list[Event]:
    return [json.loads(line) for line in (home / "events.jsonl").read_text().splitlines()]


def completed(events: list[Event], job: str) -> Event:
    (event,) = [event for event in events if event["job"]["name"] == job and event["eventType"] == "COMPLETE"]
    return event


def input_fields(event: Event, column: str) -> dict[str, set[str]]:
    (output,) = event["outputs"]
    return {
        f"{Path(field['name']).name}.{field['field']}": {f"{part['type']} {part['subtype']}" for part in field["transformations"]}
        for field in output["facets"]["columnLineage"]["fields"][column]["inputFields"]
    }


def test_each_run_starts_and_ends_once(events: list[Event]) -> None:
    assert [(event["eventType"], event["job"]["name"]) for event in events] == [
        ("START", "materialize.profile_v1"),
        ("START", "materialize.spend_v1"),
        ("COMPLETE", "materialize.profile_v1"),
        ("COMPLETE", "materialize.spend_v1"),
        ("START", "training_set.first"),
        ("COMPLETE", "training_set.first"),
        ("START", "training_set.second"),
        ("COMPLETE", "training_set.second"),
    ]
    runs: dict[str, list[str]] = {}
    for event in events:
        runs.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert list(runs.values()) == [["START", "COMPLETE"]] * 4


def test_every_event_has_what_the_specification_demands(events: list[Event]) -> None:
    for event in events:
        assert event["schemaURL"] == f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
        assert event["producer"].startswith("urn:featurestore:")
        assert event["job"]["namespace"] == "shop-features"
        assert str(uuid.UUID(event["run"]["runId"])) == event["run"]["runId"]
        assert times.text(times.parse(event["eventTime"], "eventTime")) == event["eventTime"]
        owners = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
        for facet in (facet for owner in owners for facet in owner["facets"].values()):
            assert facet["_producer"] == event["producer"]
            assert facet["_schemaURL"].startswith(f"{SPEC}/facets/")
        for dataset in (*event["inputs"], *event["outputs"]):
            assert (dataset["namespace"], dataset["name"][:1]) == ("file", "/")


def test_inputs_and_outputs_have_snapshots_and_columns(events: list[Event], store: FeatureStore, home: Path) -> None:
    event = completed(events, "materialize.spend_v1")
    found = {
        dataset["facets"]["symlinks"]["identifiers"][0]["name"]: dataset["facets"]["version"]["datasetVersion"]
        for dataset in (*event["inputs"], *event["outputs"])
    }
    snapshots = {name: store.catalog.load_table(name).current_snapshot() for name in ("shop.orders", "shop.rates", "features.spend_v1")}
    assert found == {name: str(snapshot.snapshot_id) for name, snapshot in snapshots.items() if snapshot is not None}
    (output,) = event["outputs"]
    assert output["name"] == str(home / "warehouse" / "features" / "spend_v1")
    assert output["facets"]["symlinks"]["identifiers"] == [
        {"namespace": (home / "warehouse").as_uri(), "name": "features.spend_v1", "type": "TABLE"}
    ]
    assert output["facets"]["schema"]["fields"][-3:] == [
        {"name": "euros_7d", "type": "double", "ordinal_position": 4},
        {"name": "n_7d", "type": "long", "ordinal_position": 5},
        {"name": "mean", "type": "double", "ordinal_position": 6},
    ]
    profile = completed(events, "materialize.profile_v1")
    assert [(dataset["name"], dataset["facets"]) for dataset in profile["inputs"]] == [(str(home / "profiles.parquet"), {})]
    assert input_fields(profile, "age")["profiles.parquet.age"] == {"DIRECT TRANSFORMATION"}


def test_columns_have_their_lineage(events: list[Event]) -> None:
    assert input_fields(completed(events, "materialize.spend_v1"), "euros_7d") == {
        "orders.amount": {"DIRECT TRANSFORMATION"},
        "orders.currency": {"INDIRECT JOIN"},
        "orders.customer_id": {"INDIRECT GROUP_BY"},
        "orders.ordered_at": {"INDIRECT SORT"},
        "rates.currency": {"INDIRECT JOIN", "INDIRECT GROUP_BY"},
        "rates.rate": {"DIRECT TRANSFORMATION"},
        "rates.valid": {"INDIRECT FILTER"},
    }


def test_a_training_set_leads_to_feature_tables_and_its_spine(events: list[Event], store: FeatureStore) -> None:
    for name in ("first", "second"):
        event = completed(events, f"training_set.{name}")
        (built,) = [built for built in store.training_sets() if built.name == name]
        (output,) = event["outputs"]
        assert output["facets"]["version"]["datasetVersion"] == str(built.snapshot_id)
        names = {dataset["facets"]["symlinks"]["identifiers"][0]["name"] for dataset in event["inputs"]}
        assert names == {"features.spend_v1", "features.profile_v1", "shop.labels"}
        assert input_fields(event, "ratio") == {
            "spend_v1.customer_id": {"INDIRECT GROUP_BY"},
            "spend_v1.euros_7d": {"DIRECT TRANSFORMATION"},
        }
    assert input_fields(completed(events, "training_set.first"), "label") == {"labels.label": {"DIRECT TRANSFORMATION"}}
    assert input_fields(completed(events, "training_set.second"), "basket") == {
        "labels.basket": {"DIRECT TRANSFORMATION", "INDIRECT FILTER"},
        "labels.label": {"INDIRECT FILTER"},
    }


def test_a_failed_run_says_why_and_an_interrupted_one_is_aborted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_OPENLINEAGE_URL", str(tmp_path / "events.jsonl"))
    with open_lineage_world(tmp_path) as own:
        before = len(read_events(tmp_path)) if (tmp_path / "events.jsonl").exists() else 0

        def stop(progress: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            own.materialize("profile", progress=stop)
        own.catalog.drop_table("shop.rates")
        with pytest.raises(NotFound):
            own.materialize("spend")
        # What is wrong with rows names rows, which those who collect events may not read.
        orders = Source("noted", table="shop.orders", timestamp="ordered_at")
        broken = FeatureView("broken", customer, orders, features={"number": "CAST(note AS INTEGER)"})
        checked = FeatureView("checked", customer, orders, features=["note"], checks=[check.that("note = 'none'")])
        own.apply([broken, checked])
        for view, named in ((broken, "string 'x'"), (checked, "e.g. customer_id=1")):
            with pytest.raises(FeatureStoreError, match=named):
                own.materialize(view.name)
    ends = {
        event["job"]["name"]: (event["eventType"], event["run"]["facets"].get("errorMessage", {}).get("message", ""))
        for event in read_events(tmp_path)[before:]
        if event["eventType"] in ("FAIL", "ABORT")
    }
    assert ends["materialize.profile_v1"] == ("ABORT", "")
    kind, message = ends["materialize.spend_v2"]
    assert (kind, "no table 'shop.rates'" in message) == ("FAIL", True)
    assert ends["materialize.broken_v1"] == ("FAIL", "RequestError: view broken: the SQL fails on these data")
    assert ends["materialize.checked_v1"] == ("FAIL", "CheckFailed: view checked: 1 check failed; nothing was written")


def test_events_that_cannot_be_sent_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FEATURESTORE_OPENLINEAGE_URL", str(tmp_path / "missing" / "events.jsonl"))
    with caplog.at_level(logging.WARNING), open_lineage_world(tmp_path) as own:
        assert own.view("spend").version == 2
        own.close()
    assert "the event COMPLETE of training_set.first was not sent to" in caplog.text


@pytest.mark.parametrize(
    "location,name",
    [
        ("file:///data/warehouse/shop/orders", DatasetName("file", "/data/warehouse/shop/orders")),
        ("/data/warehouse/shop/orders/", DatasetName("file", "/data/warehouse/shop/orders")),
        ("s3://bucket/warehouse/shop/orders", DatasetName("s3://bucket", "warehouse/shop/orders")),
    ],
)
def test_datasets_are_named_by_storage_and_path(location: str, name: DatasetName) -> None:
    assert location_name(location) == name


def test_other_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an http, https or file address, or the path of a file, not 'ftp'://"):
        Settings(home=tmp_path, openlineage_url="ftp://example.com/events")
