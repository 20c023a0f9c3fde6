"""Stored plans are checked again when they are used: types, numbers and SQL that somebody has changed."""

from dataclasses import replace
from typing import Any

import duckdb
import pytest

from featurestore import Entity, Expression, FeatureService, FeatureView, Source, agg
from featurestore.compiler.aggregates import OrderedAggregate
from featurestore.compiler.check import view_problems
from featurestore.compiler.check_service import service_problems
from featurestore.compiler.derived import derived_columns, derived_trees
from featurestore.compiler.events import compile_events
from featurestore.compiler.expressions import SqlProblem
from featurestore.compiler.parameters import SOURCE
from featurestore.compiler.service_plan import ServicePlan, ViewUse, service_plan_from_dict
from featurestore.errors import RequestError

USE = ViewUse("v", "v", 1, "v_v1", (("id", "id"),), (("f", "f"),), ("BIGINT",), ("DOUBLE",), None, None)
PLAN = ServicePlan("s", 1, "", (USE,), (("basket", "DOUBLE"),), (("d", "basket / f"),))
PLACES = Source("s", path="x.parquet", timestamp="at", columns={"next": "place.zip + 1"}, where="place.zip > 0")
KEY = Entity("c", keys="id")


def test_a_plan_comes_back_as_it_was() -> None:
    assert service_plan_from_dict(PLAN.to_dict()) == PLAN
    assert derived_columns(PLAN, {"basket": '"b"', "f": '"f"'}) == ['("b" / "f") AS "d"']


@pytest.mark.parametrize(
    "changed",
    [
        {"request": [["basket", "DOUBLE) , getenv('HOME'"]]},
        {"uses": [{**PLAN.to_dict()["uses"][0], "feature_types": ["oid"]}]},
        {"uses": [{**PLAN.to_dict()["uses"][0], "key_types": ["BIGINT[] "]}]},
        {"uses": [{**PLAN.to_dict()["uses"][0], "ttl": "1 OR true"}]},
    ],
)
def test_a_plan_whose_types_somebody_changed_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a"):
        service_plan_from_dict({**PLAN.to_dict(), **changed})


def test_derived_sql_that_somebody_changed_is_refused_where_it_is_used() -> None:
    with pytest.raises(RequestError, match=r"derived feature 'd' of service s cannot be computed: function getenv.* definition again"):
        derived_trees(replace(PLAN, derived=(("d", "getenv('HOME')"),)))


def test_numbers_of_an_aggregation_that_somebody_changed_are_refused() -> None:
    last = OrderedAggregate(agg.last_n("x", n="1), (SELECT 1", over="1d"), "x", None, "DOUBLE")  # type: ignore[arg-type]
    with pytest.raises(SqlProblem, match="is not a number"):
        last.sql()


def test_fields_of_structs_are_read_where_the_source_is() -> None:
    view = FeatureView("v", entity=KEY, source=PLACES, features={"city": "place.city", "next": "next"})
    events = compile_events(view, ["id", "at", "place", "other"])
    assert events.reads == ("id", "at", "place")
    with duckdb.connect() as connection:
        place = "{'city': 'Ulm', 'zip': 7}"
        # A table of the same name as a struct, so that a dotted name could be taken for its column.
        connection.execute(f"CREATE TABLE __fs_source AS SELECT 1 AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' AS at, {place} AS place")
        assert connection.execute(f"SELECT __fs_i0, __fs_i1 FROM ({events.rows(SOURCE, 0, 253402300799000000)})").fetchall() == [("Ulm", 8)]


def test_a_field_of_a_feature_is_refused_in_words() -> None:
    view = FeatureView("v", entity=KEY, source=PLACES, features={"p": "place", "e": Expression("p.city")})
    assert any("'p.city' reads a field of a struct" in problem.message for problem in view_problems(view))
    service = FeatureService("s", features=[view], request={"r": "double"}, derived={"d": "r.x + 1"})
    assert any("'r.x' reads a field of a struct" in problem.message for problem in service_problems(service))


def test_expressions_that_name_one_another_too_often_are_refused() -> None:
    doubled = {f"b{i}": Expression(f"b{i - 1} + b{i - 1}" if i else "a + a") for i in range(40)}
    view = FeatureView("v", entity=KEY, source=PLACES, features={"a": "id", **doubled})
    assert any("after the expressions that it names are substituted" in problem.message for problem in view_problems(view))
