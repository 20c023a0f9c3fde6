"""Grants as definitions: planned and applied like the rest, and never taken back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore import FeatureStore, Grant
from featurestore.dsl import documents
from featurestore.dsl.definitions import gather
from featurestore.errors import DefinitionError
from featurestore.pipelines.planning import grants
from tests import shop

READ = Grant("READ", on=shop.churn, to="GROUP analysts")
USE = Grant("use", "VIEW customer_orders", "USER him")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """An empty store."""
    with FeatureStore(home=tmp_path / "home") as store:
        yield store


def words(store: FeatureStore) -> list[str]:
    """The grants in force."""
    return [f"{grant.privilege} on {grant.on} to {grant.to}" for grant in store.grants()]


def test_a_grant_is_a_definition(store: FeatureStore) -> None:
    assert READ.on == "SERVICE churn"
    plan = store.plan([READ, USE, Grant("USE", "view customer_orders", "user him")])
    assert [(step.action, step.kind, step.name) for step in plan.steps] == [
        ("create", "grant", "READ on SERVICE churn to GROUP analysts"),
        ("create", "grant", "USE on VIEW customer_orders to USER him"),
    ]
    assert words(store) == [], "a plan changes nothing"
    assert store.apply(plan).changed
    assert words(store) == ["READ on SERVICE churn to GROUP analysts", "USE on VIEW customer_orders to USER him"]
    assert not store.plan([READ, USE]).changed
    assert not store.apply([READ]).changed
    assert len(store.grants()) == 2, "a grant that is not defined any more is not revoked"
    store.revoke("READ", "SERVICE churn", "GROUP analysts")
    assert [step.action for step in store.apply([READ, USE]).steps] == ["create", "unchanged"]
    assert len(store.grants()) == 2


def test_what_is_wrong_is_a_problem_of_the_definitions(store: FeatureStore) -> None:
    wrong = [Grant("REED", "VIEW v", "USER him"), Grant("READ", "VIEWS v", "USER him"), Grant("READ", "VIEW v", "him"), USE]
    with pytest.raises(DefinitionError) as caught:
        store.apply(wrong)
    assert sorted(problem.field for problem in caught.value.problems) == ["on", "privilege", "to"]
    assert "did you mean 'READ'" in str(caught.value)
    assert words(store) == []


def test_files_may_list_them(store: FeatureStore, tmp_path: Path) -> None:
    file = tmp_path / "grants.py"
    file.write_text(
        "from featurestore import Grant\n"
        'one = Grant("USE", "VIEW a", "USER him")\n'
        'many = [Grant("READ", on, to="GROUP analysts") for on in ("VIEW b", "VIEW c")]\n'
        'wrong = Grant("READ",\n'
        '              on="VIEW",\n'
        '              to="USER him")\n'
    )
    with pytest.raises(DefinitionError) as caught:
        store.plan(file)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (str(file), 5)
    file.write_text(file.read_text().partition("wrong")[0])
    store.apply(file)
    assert [grant.on for grant in store.grants()] == ["VIEW a", "VIEW b", "VIEW c"]


def test_they_travel_as_json() -> None:
    gathered = gather([READ, USE])
    document = documents.definitions_document(gathered)
    assert document["grants"] == [
        {"privilege": "READ", "on": "SERVICE churn", "to": "GROUP analysts"},
        {"privilege": "use", "on": "VIEW customer_orders", "to": "USER him"},
    ]
    assert gather(documents.definition_objects(document)).grants == gathered.grants


def test_an_apply_that_is_interrupted_before_its_grants_is_completed_by_the_next(
    own_shop: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(grants, "apply_grants", stop)
        with pytest.raises(KeyboardInterrupt):
            own_shop.apply([READ, USE])
    assert words(own_shop) == []
    assert own_shop.plan([READ, USE]).changed
    own_shop.apply([READ, USE])
    assert len(words(own_shop)) == 2
