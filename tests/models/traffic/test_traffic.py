"""Splits of traffic: what may be set, what is recorded, and who loses a race."""

import threading
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from featurestore import models
from featurestore.access.principal import Principal
from featurestore.access.rights import Rights
from featurestore.errors import CommitConflict, Conflict, FeatureStoreError, NotFound, RequestError
from featurestore.models.stamps.store_access import runtime_of
from featurestore.models.traffic import traffic
from featurestore.records.traffic import TrafficSplits
from featurestore.store import PrincipalStore
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


@pytest.fixture(scope="module")
def name(world: World) -> str:
    """A model with two versions behind the aliases a and b."""
    for alias in ("a", "b"):
        info = models.log_model(world.model, training_set=world.training_set, name="split", registered_model_name="split")
        mlflow.MlflowClient().set_registered_model_alias("split", alias, info.registered_model_version)
    return "split"


def test_a_split_is_recorded_with_its_history(world: World, name: str) -> None:
    assert world.store.traffic(name).weights == {}
    first = world.store.set_traffic(name, {"a": 90, "b": 10}, "b", approver="ann", reason="try it")
    assert (first.weights, first.shadow, first.versions, first.keys) == ({"a": 90, "b": 10}, ("b",), {"a": "1", "b": "2"}, ("customer_id",))
    assert (first.approver, first.reason) == ("ann", "try it")
    assert world.store.set_traffic(name, {"b": 10.0, "a": 90.0}, ["b"], approver="bob").history == first.history
    administrator = PrincipalStore(world.store, Rights(Principal("platform", is_administrator=True)))
    second = administrator.set_traffic(name, {"a": 33.33, "b": 66.67})
    assert second.approver == "platform"
    assert [(period.weights, period.until) for period in second.history] == [
        ({"a": 33.33, "b": 66.67}, None),
        ({"a": 90, "b": 10}, second.since),
    ]
    removed = world.store.set_traffic(name, {}, approver="ann")
    assert (removed.weights, removed.keys, len(removed.history)) == ({}, (), 3)
    assert world.store.traffic(name) == removed
    assert len(world.store.set_traffic(name, {}).history) == 3


def test_what_cannot_be_split(world: World, name: str) -> None:
    def refuse(kind: type[FeatureStoreError], match: str, *arguments: Any, **more: Any) -> None:
        with pytest.raises(kind, match=match):
            world.store.set_traffic(*arguments, **more)

    before = world.store.traffic(name)
    refuse(NotFound, "alias 'c'", name, {"a": 50, "c": 50})
    refuse(NotFound, "alias 'c'", name, {"a": 100}, "c")
    refuse(NotFound, "did you mean 'split'", "splitt", {"a": 100})
    refuse(NotFound, "did you mean 'split'", "splitt", {})
    refuse(RequestError, "without weights nothing answers", name, {}, "a")
    refuse(RequestError, "names 9 aliases, and may name 8", name, {"a": 100}, [f"x{number}" for number in range(8)])
    refuse(RequestError, "approver", name, {"a": 100}, approver="")
    models.archive(
        name,
        models.log_model(world.model, training_set=world.training_set, name=name, registered_model_name=name).registered_model_version,
        approver="x",
        store=world.store,
    )
    mlflow.MlflowClient().set_registered_model_alias(name, "old", "3")
    refuse(Conflict, "version 3 of model split is archived", name, {"old": 100})
    assert world.store.traffic(name) == before
    with pytest.raises(NotFound):
        world.store.traffic("never")


def test_of_two_at_once_one_is_told(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)
    check = traffic._check_split

    def checked(*arguments: Any) -> Any:
        report = check(*arguments)
        both.wait(60)
        return report

    monkeypatch.setattr(traffic, "_check_split", checked)
    outcomes: list[object] = []

    def set_it(weight: int) -> None:
        try:
            outcomes.append(world.store.set_traffic(name, {"a": weight, "b": 100 - weight}, approver=f"setter {weight}"))
        except CommitConflict as conflict:
            outcomes.append(conflict)

    before = len(world.store.traffic(name).history)
    threads = [threading.Thread(target=set_it, args=(weight,)) for weight in (20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lost,) = [outcome for outcome in outcomes if isinstance(outcome, CommitConflict)]
    history = world.store.traffic(name)
    assert len(history.history) == before + 1
    assert f"was set to a={history.weights['a']:g}, b={history.weights['b']:g} by {history.approver}" in lost.message


def test_memory_follows_what_others_set(world: World, name: str) -> None:
    splits = TrafficSplits(runtime_of(world.store))
    world.store.set_traffic(name, {})
    assert splits.of(name) is None
    splits.refresh()
    assert splits.is_loaded
    assert splits.of(name) is None
    world.store.set_traffic(name, {"a": 100})
    assert splits.of(name) is None
    assert splits.refresh() == [name]
    newest_split = splits.of(name)
    assert newest_split is not None
    assert newest_split.answering == ["a"]
    assert splits.refresh() == []
    assert splits.of(name) is newest_split
    world.store.set_traffic(name, {})
    assert splits.refresh() == [name]
    assert splits.of(name) is None


def test_a_split_of_a_deleted_model_can_be_removed(world: World) -> None:
    models.log_model(world.model, training_set=world.training_set, name="gone", registered_model_name="gone")
    mlflow.MlflowClient().set_registered_model_alias("gone", "a", "1")
    world.store.set_traffic("gone", {"a": 100})
    mlflow.MlflowClient().delete_registered_model("gone")
    with pytest.raises(NotFound, match="model 'gone'"):
        world.store.set_traffic("gone", {"a": 100}, "a")
    assert world.store.set_traffic("gone", {}).weights == {}


def test_an_audit_has_the_periods_of_a_version(world: World) -> None:
    client = mlflow.MlflowClient()
    for version in (1, 2):
        models.log_model(world.model, training_set=world.training_set, name="audited_split", registered_model_name="audited_split")
        models.set_alias("audited_split", f"arm{version}", version, approver="ann", store=world.store)
    world.store.set_traffic("audited_split", {"arm1": 100}, approver="ann")
    world.store.set_traffic("audited_split", {"arm1": 50, "arm2": 50}, approver="bob", reason="try")

    def link(uri: str) -> Any:
        return next((link for link in world.store.audit(uri).links if link.kind == "traffic"), None)

    traffic_link = link("models:/audited_split/1")
    assert traffic_link.problems == ()
    assert len(traffic_link.verified) == 2
    assert [(period["weights"], period["approver"]) for period in traffic_link.facts["periods"]] == [
        ({"arm1": 50, "arm2": 50}, "bob"),
        ({"arm1": 100}, "ann"),
    ]
    assert len(link("models:/audited_split/2").facts["periods"]) == 1
    client.delete_registered_model_alias("audited_split", "arm2")
    (problem,) = link("models:/audited_split/1").problems
    assert problem == "the alias 'arm2' of the split in force does not exist any more"
    world.store.set_traffic("audited_split", {})
    assert link("models:/audited_split/1").problems == ()
    # Somebody writes a row that no alias ever led to.
    table = world.store.catalog.load_table("registry.traffic")
    forged = table.scan(row_filter="model = 'audited_split' and reason = 'try'").to_arrow().to_pylist()[0]
    versions = '{"arm1": "2", "arm2": "1"}'
    table.append(
        pa.Table.from_pylist([{**forged, "versions": versions, "at": forged["at"] + timedelta(seconds=1)}], table.schema().as_arrow())
    )
    assert any("has version 1 behind 'arm2', but registry.models says" in text for text in link("models:/audited_split/1").problems)
