"""Every argument of definitions with wrong values: it works, or our error names the argument."""

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import featurestore
from featurestore import (
    Csv,
    Entity,
    Expression,
    FeatureService,
    FeatureStore,
    FeatureView,
    Grant,
    Mask,
    RowFilter,
    Source,
    TablePolicy,
    agg,
    check,
)
from featurestore.compiler import check as checking
from featurestore.dsl.documents import definitions_document
from featurestore.dsl.loader import load_definitions
from featurestore.dsl.view import Selection
from featurestore.errors import DefinitionError
from tests.definitions.wrong_values import faults
from tests.worlds import STAMP, load_source

Make = Callable[..., Any]
AGGREGATIONS = [getattr(agg, name) for name in checking.FUNCTIONS]
CHECKS: dict[Any, dict[str, Any]] = {
    check.that: {"sql": "a > 0"},
    check.not_null: {"feature": "a"},
    check.rows: {"at_least": 1},
    check.fresh: {"within": "1d"},
}


def entity(**given: Any) -> Entity:
    return Entity(**{"name": "customer", "keys": "id", **given})


def source(**given: Any) -> Source:
    return Source(**{"name": "orders", "table": "shop.orders", "timestamp": "at", **given})


def view(**given: Any) -> FeatureView:
    return FeatureView(**{"name": "orders", "entity": entity(), "source": source(), "features": ["a", "b"], **given})


def counts(**given: Any) -> FeatureView:
    features = {"n": agg.count(over="1d")}
    return FeatureView(**{"name": "counts", "entity": entity(), "source": source(), "every": "1d", "features": features, **given})


def service(**given: Any) -> FeatureService:
    return FeatureService(**{"name": "all", "features": [view()], **given})


def of_aggregation(function: Make) -> Make:
    needed = {"column": "a", "over": "1d", **{name: value for name, value in {"q": 0.5, "n": 2}.items() if name in names(function)}}
    return lambda **given: counts(features={"f": function(**{**needed, **given})})


def of_check(function: Make) -> Make:
    return lambda **given: view(checks=[function(**{**CHECKS[function], **given})])


def service_of_alias(of: FeatureView | Selection) -> Make:
    return lambda **given: service(features=[of.aliased(**{"alias": "r", "keys": {"id": "other"}, **given})])


def names(of: Any) -> list[str]:
    return [name for name in inspect.signature(of).parameters if name != "self"]


CALLS: dict[str, tuple[Any, Make]] = {
    "Entity": (Entity, entity),
    "Source of a table": (Source, source),
    "Source of a file": (Source, lambda **given: source(**{"table": None, "path": "none.csv", **given})),
    "Source of SQL": (Source, lambda **given: source(**{"table": None, "sql": "SELECT * FROM shop.orders", **given})),
    "Source of a database": (Source, lambda **given: source(**{"url": "warehouse", "watermark": "at", **given})),
    "FeatureView of rows": (FeatureView, view),
    "FeatureView on a grid": (FeatureView, counts),
    "FeatureService": (FeatureService, service),
    "Grant": (Grant, lambda **given: Grant(**{"privilege": "READ", "on": "VIEW orders", "to": "USER him", **given})),
    "TablePolicy": (TablePolicy, lambda **given: TablePolicy(**{"table": "shop.orders", **given})),
    "Mask": (Mask, lambda **given: TablePolicy("shop.orders", masks={"a": Mask(**{"sql": "NULL", **given})})),
    "RowFilter": (RowFilter, lambda **given: TablePolicy("shop.orders", rows=RowFilter(**{"sql": "a > 0", **given}))),
    "Csv": (Csv, lambda **given: source(table=None, path="none.csv", format=Csv(**given))),
    "Expression": (Expression, lambda **given: view(features={"a": "a", "sum": Expression(**given)})),
    "view[...]": (FeatureView.__getitem__, lambda names: service(features=[view()[names]])),
    "view.aliased(...)[...]": (Selection.__getitem__, lambda names: service(features=[view().aliased("r", {"id": "other"})[names]])),
    "view.aliased": (FeatureView.aliased, service_of_alias(view())),
    "view[...].aliased": (Selection.aliased, service_of_alias(view()["a"])),
    **{f"agg.{function.__name__}": (function, of_aggregation(function)) for function in AGGREGATIONS},
    **{f"check.{function.__name__}": (function, of_check(function)) for function in CHECKS},
}
CASES = [(call, argument) for call, (signature, _) in CALLS.items() for argument in names(signature)]

# Where the only argument of a call is identified by its position.
PLACES = {
    ("Expression", "sql"): r"features\.sum: ",
    ("check.that", "sql"): r"checks\[0\]: ",
    ("view[...]", "names"): r"orders\[\.\.\.\]|no feature .* in orders",
    ("view.aliased(...)[...]", "names"): r"orders\[\.\.\.\]|no feature .* in orders",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path_factory.mktemp("home")) as store:
        at = datetime(2026, 3, 1, tzinfo=UTC)
        rows = {"id": [1], "at": pa.array([at], STAMP), "a": [1.0], "b": ["x"], "x": [True]}
        load_source(store, "shop.orders", pa.table(rows))
        yield store


def test_every_call_of_the_language_is_looked_at() -> None:
    signatures = {signature for signature, _ in CALLS.values()}
    # A FeatureLookup is an argument of create_training_set, and tested beside it.
    language = {getattr(featurestore, name) for name in featurestore.__all__} - {
        FeatureStore,
        featurestore.FeatureLookup,
        featurestore.Settings,
        featurestore.Store,
        featurestore.connect,
        featurestore.connect_async,
    }
    functions = {
        value
        for module in (agg, check)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    assert (language - {agg, check}) | functions <= signatures


@pytest.mark.parametrize("call, argument", CASES)
def test_a_wrong_argument_works_or_is_named(call: str, argument: str, store: FeatureStore, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    make = CALLS[call][1]

    def plan_value(value: Any) -> None:
        gathered = load_definitions([make(**{argument: value})])
        if problems := [*gathered.problems, *checking.definition_problems(gathered)]:
            raise DefinitionError(problems)
        # As a server gets it, and as the registry keeps it.
        store.plan(load_definitions([make(**{argument: value})]))
        definitions_document(gathered)

    assert faults(plan_value, PLACES.get((call, argument), rf"\b{argument}\b|no column 'x")) == []
