"""Promotions, demotions, rollbacks and archiving: what is checked, what is recorded, and who loses a race."""

import threading
from typing import Any

import pytest

from featurestore import FeatureStore, models
from featurestore.audit_log.log import OPENED
from featurestore.errors import CommitConflict, Conflict, FeatureStoreError, NotFound, RequestError
from featurestore.models.promotions import promotion
from featurestore.models.promotions.requirement import OWN, parse_requirement
from featurestore.models.stamps.store_access import runtime_of
from featurestore.pipelines.lineage.audit_result import AliasChange
from featurestore.records import authors, model_events
from tests.models.vendor import VENDOR_WARNINGS, mlflow
from tests.models.worlds import World

pytestmark = VENDOR_WARNINGS


def register(world: World, name: str, *aucs: float) -> None:
    """Versions 1, 2, ... of a model, with these metrics."""
    for auc in aucs:
        with mlflow.start_run():
            mlflow.log_metric("loss", 1 - auc)
            models.log_model(world.model, training_set=world.training_set, name=name, registered_model_name=name, metrics={"auc": auc})


def alias_of(name: str, alias: str = "champion") -> str | None:
    version = mlflow.MlflowClient().get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def events(world: World, name: str) -> list[dict[str, Any]]:
    """The changes of aliases and stages, oldest first."""
    runtime = runtime_of(world.store)
    runtime.look_at_models()
    changes = [event for event in model_events.list_events(runtime) if event["model"] == name and (event["alias"] or event["stage"])]
    return [event for event in reversed(changes) if event["event"] != "registered"]


def promote(world: World, name: str, version: int, **options: Any) -> AliasChange:
    return models.promote(name, version, **{"approver": "ann", "store": world.store, **options})


def test_a_promotion_is_checked_recorded_and_made(world: World) -> None:
    register(world, "promoted", 0.70, 0.80, 0.801)
    first = promote(world, "promoted", 1, reason="the first")
    assert (first.before, first.version, first.changed, alias_of("promoted")) == (None, "1", True, "1")
    assert any("its stored rows have the digest" in text for text in first.verified)
    better = promote(world, "promoted", 2, require="auc > champion.auc + 0.005 and loss < 0.25", deep=True)
    assert better.used == {"auc": 0.8, "champion.auc": 0.7, "loss": pytest.approx(0.2)}
    assert (better.before, alias_of("promoted")) == ("1", "2")
    with pytest.raises(Conflict, match=r"'auc > champion.auc \+ 0.005' is not met \(auc = 0.801, champion.auc = 0.8\)"):
        promote(world, "promoted", 3, require="auc > champion.auc + 0.005")
    assert alias_of("promoted") == "2"
    again = promote(world, "promoted", 2)
    assert not again.changed
    recorded = events(world, "promoted")
    assert [(event["version"], event["approver"], event["origin"]) for event in recorded] == [
        ("1", "ann", "featurestore"),
        ("2", "ann", "featurestore"),
    ]
    assert recorded[0]["reason"] == "the first"
    assert recorded[1]["details"]["used"]["champion.auc"] == 0.7
    assert recorded[1]["metrics"]["auc"] == 0.8


def test_what_is_missing_is_named(world: World) -> None:
    register(world, "lacking", 0.7)
    with pytest.raises(Conflict, match=r"no version has the alias 'champion', so champion\.auc has no value"):
        promote(world, "lacking", 1, require="auc > champion.auc")
    with pytest.raises(Conflict, match="the version has no metric 'acu'; did you mean 'auc'"):
        promote(world, "lacking", 1, require="acu > 0.5")
    with pytest.raises(RequestError, match="approver"):
        promote(world, "lacking", 1, approver=" ")
    with pytest.raises(NotFound, match="no version '9' in model lacking"):
        promote(world, "lacking", 9)
    mlflow.sklearn.log_model(world.model, name="x", registered_model_name="bare", pip_requirements=[], serialization_format="pickle")
    with pytest.raises(RequestError, match="no stamp"):
        promote(world, "bare", 1)
    assert alias_of("lacking") is None


@pytest.mark.slow
def test_demotion_and_rollback(world: World) -> None:
    register(world, "rolled", 0.1, 0.2, 0.3)
    for version in (1, 2, 3):
        promote(world, "rolled", version)
    back = models.rollback("rolled", approver="bob", reason="complaints", store=world.store)
    assert (back.before, back.version, alias_of("rolled")) == ("3", "2", "2")
    assert models.rollback("rolled", approver="bob", store=world.store).version == "1"
    with pytest.raises(Conflict, match="no version of model rolled had the alias 'champion' before version 1"):
        models.rollback("rolled", approver="bob", store=world.store)
    promote(world, "rolled", 3)
    assert models.rollback("rolled", approver="bob", store=world.store).version == "1"
    gone = models.demote("rolled", approver="eve", store=world.store)
    assert (gone.before, gone.version, alias_of("rolled")) == ("1", None, None)
    with pytest.raises(NotFound, match="alias"):
        models.demote("rolled", approver="eve", store=world.store)
    assert events(world, "rolled")[-1]["event"] == "alias removed"


@pytest.mark.slow
def test_an_archived_version_is_not_promoted(world: World) -> None:
    register(world, "archived", 0.1, 0.2)
    promote(world, "archived", 1)
    with pytest.raises(Conflict, match="has the alias champion; demote it first"):
        models.archive("archived", 1, approver="ann", store=world.store)
    assert models.archive("archived", 2, approver="ann", reason="old", store=world.store).changed
    assert {model.version: model.stage for model in world.store.models() if model.model == "archived"}["2"] == "Archived"
    with pytest.raises(Conflict, match="featurestore archive archived 2 --restore"):
        promote(world, "archived", 2)
    models.archive("archived", 2, approver="ann", restore=True, store=world.store)
    assert promote(world, "archived", 2).changed
    assert [event["origin"] for event in events(world, "archived") if event["event"] == "stage set"] == ["featurestore", "featurestore"]


def test_an_alias_moved_through_mlflow_is_recorded_as_such(world: World) -> None:
    register(world, "foreign", 0.1, 0.2)
    promote(world, "foreign", 1)
    mlflow.MlflowClient().set_registered_model_alias("foreign", "champion", "2")
    changed = models.rollback("foreign", approver="ann", store=world.store)
    assert changed.version == "1"
    assert [(event["version"], event["approver"], event["origin"]) for event in events(world, "foreign")] == [
        ("1", "ann", "featurestore"),
        ("2", None, "mlflow"),
        ("1", "ann", "featurestore"),
    ]


def test_of_two_promotions_at_once_one_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    register(world, "raced", 0.1, 0.2)
    both_checked = threading.Barrier(2)
    outcomes: dict[int, AliasChange | FeatureStoreError] = {}
    required = promotion._check_requirement

    def wait(*arguments: Any) -> Any:
        both_checked.wait(60)
        return required(*arguments)

    def attempt(version: int) -> None:
        try:
            outcomes[version] = promote(world, "raced", version, approver=f"user {version}")
        except FeatureStoreError as error:
            outcomes[version] = error

    monkeypatch.setattr(promotion, "_check_requirement", wait)
    threads = [threading.Thread(target=attempt, args=(version,)) for version in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (version for version, outcome in outcomes.items() if isinstance(outcome, AliasChange))
    lost = outcomes[3 - winner]
    assert isinstance(lost, Conflict)
    assert f"user {winner}" in str(lost) or "moved meanwhile" in str(lost)
    assert alias_of("raced") == str(winner)
    assert [event["version"] for event in events(world, "raced")] == [str(winner)]


@pytest.mark.parametrize("alias", ["v1", "Latest", "a b", "a" * 300])
def test_an_alias_that_mlflow_does_not_allow_is_not_recorded(world: World, logged: Any, alias: str) -> None:
    before = len(model_events.list_events(runtime_of(world.store)))
    for change in (models.promote, models.set_alias):
        with pytest.raises(RequestError, match=r"^alias: "):
            change("churn", alias=alias, version=1, approver="ann", store=world.store)
    assert len(model_events.list_events(runtime_of(world.store))) == before


def test_a_commit_of_another_alias_does_not_lose(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    register(world, "apart", 0.1)
    required = promotion._check_requirement

    def meanwhile(*arguments: Any) -> Any:
        models.set_alias("apart", "challenger", 1, approver="eve", store=world.store)
        return required(*arguments)

    monkeypatch.setattr(promotion, "_check_requirement", meanwhile)
    assert promote(world, "apart", 1).changed
    monkeypatch.setattr(promotion, "_check_requirement", required)

    def same(*arguments: Any) -> Any:
        models.set_alias("apart", "second", 1, approver="eve", store=world.store)
        mlflow.MlflowClient().delete_registered_model_alias("apart", "second")
        return required(*arguments)

    monkeypatch.setattr(promotion, "_check_requirement", same)
    with pytest.raises(CommitConflict, match="'second' of model apart was set to version 1 by eve"):
        promote(world, "apart", 1, alias="second")


@pytest.mark.parametrize(
    "text, met",
    [
        ("auc > 0.5", True),
        ("auc > champion.auc + 0.005", True),
        ("0.5 < auc <= 1 and not loss > 2", True),
        ("-loss > -champion.loss * 2 / 3 or auc >= 2", False),
        ('metrics["val/auc"] == champion["val/auc"]', True),
    ],
)
def test_requirements(text: str, met: bool) -> None:
    metrics = {
        OWN: {"auc": 0.8, "loss": 1.0, "val/auc": 0.25},
        "champion": {"auc": 0.79, "loss": 1.2, "val/auc": 0.25},
    }
    assert parse_requirement(text).holds(metrics) is met


@pytest.mark.parametrize(
    "text",
    [
        "",
        "auc",
        "auc > 'x'",
        "__import__('os').system('true') > 0",
        "auc.real.imag > 0",
        "(lambda: 1)() > 0",
        "auc > 1 if 1 else 2",
        "auc ** 9 > 0",
        "auc in [1]",
        "auc > 1; 2",
        "x := 1",
        "auc > " + "-" * 300 + "1",
        "auc > 1e999",
        "auc > " + "9" * 400,
        "auc > True",
        "a" * 1001 + " > 1",
        "[auc][0] > 1",
        "auc @ 1 > 0",
    ],
)
def test_a_requirement_is_nothing_but_comparisons(text: str) -> None:
    with pytest.raises(RequestError, match="require"):
        parse_requirement(text)


def test_a_division_by_zero_is_said() -> None:
    with pytest.raises(Conflict, match="cannot be computed"):
        parse_requirement("auc / zero > 1").holds({OWN: {"auc": 1.0, "zero": 0.0}})


@pytest.mark.parametrize(
    "text", ["nan > 0", "not (auc < nan)", "auc > 0.5 or nan == nan", "nan != nan", "0 < auc < 2 < nan", "not auc < 1e300*1e300*0"]
)
def test_a_comparison_with_nan_is_refused_whatever_surrounds_it(text: str) -> None:
    with pytest.raises(Conflict, match=r"(nan|1e\+300).*' compares NaN"):
        parse_requirement(text).holds({OWN: {"auc": 0.8, "nan": float("nan")}})


@pytest.mark.parametrize("text", ["not (auc < 0/0)", "auc > 0.5 or auc > 1/0", "auc > 2 and 1/0 > 1"])
def test_a_division_by_zero_is_refused_whatever_surrounds_it(text: str) -> None:
    with pytest.raises(Conflict, match="cannot be computed: float division by zero"):
        parse_requirement(text).holds({OWN: {"auc": 0.8}})


def test_a_promotion_that_is_repeated_compares_with_the_version_that_it_replaced(world: World) -> None:
    for auc in (0.7, 0.8, 0.9):
        register(world, "repeated", auc)
    promote(world, "repeated", 1)
    required = "auc > champion.auc + 0.05"
    first = promote(world, "repeated", 2, require=required)
    recorded = events(world, "repeated")
    again = promote(world, "repeated", 2, require=required)
    assert (again.changed, again.used) == (False, first.used) == (False, {"auc": 0.8, "champion.auc": 0.7})
    with pytest.raises(Conflict, match=r"is not met \(auc = 0.8, champion.auc = 0.7\)"):
        promote(world, "repeated", 2, require="auc > champion.auc + 0.5")
    assert events(world, "repeated") == recorded
    assert promote(world, "repeated", 3, require=required).used == {"auc": 0.9, "champion.auc": 0.8}


def test_a_version_that_has_the_alias_is_checked_all_the_same(world: World) -> None:
    register(world, "again", 0.7)
    promote(world, "again", 1)
    recorded = events(world, "again")
    with pytest.raises(Conflict, match=r"'champion', which it has already: .*no version has the alias 'champion'"):
        promote(world, "again", 1, require="auc > champion.auc - 0.5")
    with pytest.raises(Conflict, match="compares NaN"):
        promote(world, "again", 1, require="not auc < 1e300 * 1e300 - 1e300 * 1e300")
    same = promote(world, "again", 1, require="auc > 0.5")
    assert (same.changed, same.before, same.version, same.used) == (False, "1", "1", {"auc": 0.7})
    assert any("its stored rows have the digest" in text for text in same.verified)
    assert events(world, "again") == recorded
    mlflow.MlflowClient().set_model_version_tag("again", "1", "featurestore.training_set", "another")
    with pytest.raises(Conflict, match=r"which it has already: .*tag"):
        promote(world, "again", 1)


def test_changes_by_a_store_here_are_in_its_audit_log(world: World) -> None:
    register(world, "logged", 0.7)
    with FeatureStore(settings=world.store.settings.model_copy(update={"audit_log": "on"})) as store:
        models.promote("logged", 1, approver="ann", store=store)
        models.set_alias("logged", "second", 1, approver="ann", store=store)
        with pytest.raises(NotFound):
            models.demote("logged", "third", approver="ann", store=store)
        with pytest.raises(Conflict):
            models.rollback("logged", approver="ann", store=store)
        with pytest.raises(Conflict):
            models.archive("logged", 1, approver="ann", store=store)
        entries = [entry for entry in reversed(store.audit_log()) if entry.action != OPENED]
    assert [(entry.action, entry.error) for entry in entries] == [
        ("promote", None),
        ("set_alias", None),
        ("demote", "NotFound"),
        ("rollback", "Conflict"),
        ("archive", "Conflict"),
    ]
    assert entries[0].scope == {"name": "logged", "version": 1, "approver": "ann"}
    assert {entry.principal for entry in entries} == {authors.author()}
