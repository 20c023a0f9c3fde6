"""Data checks in definitions: not part of the fingerprint, checked against the table's types, with line numbers in errors."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg, check
from featurestore.compiler.events import events_of
from featurestore.dsl import documents
from featurestore.errors import DefinitionError
from featurestore.pipelines.materialization import checks
from featurestore.pipelines.materialization.source_columns import add_columns, bind_source
from featurestore.records import definitions
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.sources.pinned_source import open_source
from featurestore.values import times
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
customer = Entity("customer", keys="customer_id")
orders = Source("orders", table="shop.orders", timestamp="at")
view = FeatureView("spending", entity=customer, source=orders, features=["spend", "status"])
counts = FeatureView("counts", entity=customer, source=orders, every="1d", features={"n": agg.count(over=["1d", "90d"])})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """Two orders, a day apart; the second is void."""
    with FeatureStore(home=tmp_path / "home") as store:
        rows = {
            "customer_id": [1, 2],
            "at": pa.array([T, T + DAY], STAMP),
            "spend": [1.0, 2.0],
            "status": ["paid", "void"],
        }
        load_source(store, "shop.orders", pa.table(rows))
        yield store


def newest(store: FeatureStore, of: FeatureView, end: datetime) -> datetime | None:
    parts = Runtime(store.settings)
    source = open_source(parts, of.source)
    with parts.engine.session() as session:
        events = events_of(bind_source(of, source, add_columns(parts, session, of, source), State()))
        event = checks.find_newest_event(parts, session, of, source, events, times.micros(end))
    return None if event is None else times.moment(event)


def test_freshness_is_that_of_the_source(store: FeatureStore) -> None:
    daily = replace(counts, checks=[check.fresh(within="2d")])
    assert newest(store, daily, T + 2 * DAY) == T + DAY
    assert newest(store, daily, T + 3 * DAY) == T + DAY
    assert newest(store, daily, T + 3 * DAY + timedelta(seconds=1)) is None  # while rows of the 90 days after it are computed
    assert newest(store, daily, T + timedelta(hours=1)) == T  # what came after the end of the run counts for a later one
    paid = replace(daily, source=replace(orders, where="status = 'paid'"), checks=[check.fresh(within="1d"), check.fresh(within="3d")])
    assert newest(store, paid, T + 3 * DAY) == T
    assert newest(store, replace(view, checks=[check.rows(at_least=1)]), T + DAY) is None


def test_checks_are_no_part_of_the_meaning(store: FeatureStore) -> None:
    service = FeatureService("spending", features=[view])
    store.apply([service])
    strict = replace(view, checks=[check.that("spend >= 0"), check.rows(at_most=9, severity="warn")])
    plan = store.plan([FeatureService("spending", features=[strict])])
    [step] = [step for step in plan.steps if step.kind == "view"]
    assert (step.action, step.version, step.reason) == ("update words", 1, "checks changed; waits for its backfill")
    assert {step.action for step in plan.steps if step.kind == "service"} == {"update words"}
    store.apply(plan)
    assert store.view("spending")["checks"] == {"spend >= 0": "error", "rows(at_most=9)": "warn"}
    assert store.view("spending")["definition"]["checks"][1] == {
        "kind": "rows",
        "name": "rows(at_most=9)",
        "at_least": None,
        "at_most": 9,
        "severity": "warn",
    }
    with_all = replace(strict, checks=[*strict.checks, check.not_null("status", at_least=0.5), check.fresh(within="1d", name="new")])
    assert documents.view(documents.document(with_all)) == with_all
    assert not store.plan([strict]).changed


def test_a_definition_applied_before_there_were_checks_is_unchanged(store: FeatureStore) -> None:
    service = FeatureService("spending", features=[view])
    store.apply([service])
    parts = Runtime(store.settings)
    known = definitions.read_registry(parts)
    applied = known.get("view", "spending")
    older = {name: value for name, value in applied.document.items() if name != "checks"}
    within = known.get("service", "spending")
    selections = [{**item, "view": older} for item in within.document["features"]]
    definitions.append_to_registry(
        parts, [replace(applied, document=older), replace(within, document={**within.document, "features": selections})], known.snapshot_id
    )
    assert not store.plan([service]).changed
    assert store.view("spending")["checks"] == {}


def test_conditions_are_held_against_the_types_of_the_table(store: FeatureStore) -> None:
    wrong = [check.that("spend"), check.that("spend > 0"), check.that("spend + status > 0")]
    messages = {
        "checks[0]": "'spend' is DOUBLE, not true or false; write a condition",
        "checks[2]": "'spend + status > 0' does not work on these types: spend is DOUBLE, status is VARCHAR",
    }
    for _ in ("a new view", "a view that is there"):
        with pytest.raises(DefinitionError) as caught:
            store.apply([replace(view, checks=wrong)])
        assert {problem.field: problem.message for problem in caught.value.problems} == messages
        store.apply([view])
    assert store.view("spending")["checks"] == {}


def test_a_wrong_check_is_found_at_its_line(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from featurestore import Entity, FeatureView, Source, check\n"
        'view = FeatureView("view", entity=Entity("c", keys="customer_id"), source=Source("s", table="shop.orders", timestamp="at"),\n'
        '    features=["spend"],\n'
        "    checks=[\n"
        '        check.that("spend > 0"),\n'
        '        check.that("spent > 0"),\n'
        "    ])\n"
        "checks = [check.rows()]\n"
        'other = FeatureView("other", entity=view.entity, source=view.source, features=["spend"],\n'
        "    checks=checks)\n"
    )
    with pytest.raises(DefinitionError) as caught:
        store.plan(tmp_path / "shop.py")
    assert [(problem.line, problem.field) for problem in caught.value.problems] == [(6, "checks[1]"), (10, "checks[0]")]
