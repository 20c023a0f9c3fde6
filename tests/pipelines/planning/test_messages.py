"""Common mistakes of callers, and messages with the value, the expected type and near misses."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.dsl.loader import load_definitions
from featurestore.errors import DefinitionError, RequestError
from featurestore.values.humanize import format_duration
from tests import shop


@pytest.mark.slow
def test_a_service_object_stands_for_its_name(own_shop: FeatureStore) -> None:
    definitions: Any = shop.churn
    entities, request = [{"customer_id": 1}], [{"basket": 10.0}]
    assert (
        own_shop.online_features(definitions, entities, request).features == own_shop.online_features("churn", entities, request).features
    )
    assert own_shop.service(definitions)["name"] == "churn"
    view: Any = shop.customer_profile
    assert own_shop.view(view)["name"] == "customer_profile"


ENTITIES = [{"customer_id": 1}]
WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a list for a service": (
        lambda store: store.online_features(["churn"], [{"customer_id": 1}]),
        r"service must be a name or a FeatureService, not \['churn'\]",
    ),
    "a dict for a service": (
        lambda store: store.training_set({"a": 1}, [{"customer_id": 1}], "t"),
        r"service must be a name or a FeatureService, not \{'a': 1\}",
    ),
    "a number for a view": (lambda store: store.materialize([7]), "view must be a name or a FeatureView, not 7"),
    "a service for a view": (lambda store: store.view(shop.churn), "view must be a name or a FeatureView, not FeatureService"),
    "one object for request": (
        lambda store: store.online_features("churn", [{"customer_id": 1}], {"basket": 1.0}),
        "request must be a list of objects, one for each entity",
    ),
    "a text for request": (
        lambda store: store.online_features("churn", [{"customer_id": 1}], "basket=1"),
        "request must be a list of objects",
    ),
    "one object for entities": (
        lambda store: store.online_features("churn", ENTITIES[0], [{"basket": 1.0}]),
        "entities must be a list",
    ),
    "a text for a snapshot": (
        lambda store: store.point_in_time("churn", shop.SPINE_SQL, "ordered_at", snapshots={"customer_orders_v1": "²"}),
        "snapshots: customer_orders_v1 must be a snapshot id, not '²'",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_was_given_and_wanted_is_said(own_shop: FeatureStore, what: str) -> None:
    call, message = WRONG[what]
    with pytest.raises(RequestError, match=message):
        call(own_shop)


def test_a_timedelta_is_a_duration() -> None:
    view = FeatureView(
        "v",
        entity=Entity("c", keys="c"),
        source=Source("s", table="a.b", timestamp="t"),
        every=timedelta(hours=1),  # type: ignore[arg-type]
        features={"n": agg.count(over=[timedelta(days=7), timedelta(minutes=90)]), "m": agg.sum("x", over=timedelta(days=1))},
    )
    assert view.every == "1h"
    assert [feature.over for feature in view.declared.values() if not isinstance(feature, str)] == [("7d", "90m"), ("1d",)]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "over, problem",
    [
        (7, "is not a duration; write a whole number"),
        (timedelta(milliseconds=1), "is not a duration; write a whole number"),
        (None, "has no window; give over=, such as '7d' or 'all', or last="),
    ],
)
def test_what_is_no_duration_is_a_problem_of_the_definition(own_shop: FeatureStore, over: Any, problem: str) -> None:
    broken = FeatureView("broken", entity=shop.customer, source=shop.orders, every="1d", features={"n": agg.count(over=over)})
    with pytest.raises(DefinitionError, match=problem):
        own_shop.plan([broken])


def test_a_derived_feature_that_is_no_text_is_told_so(own_shop: FeatureStore) -> None:
    derived: Any = {"twice": lambda basket: basket * 2}
    service = FeatureService("odd", features=[shop.customer_orders], request={"basket": "double"}, derived=derived)
    with pytest.raises(DefinitionError, match="a derived feature is SQL text"):
        own_shop.plan([service])


def test_two_objects_of_one_name_are_both_told_with_their_lines(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(
        "from featurestore import Entity\na = Entity('customer', keys='a')\nb = Entity('customer', keys='b')\n"
    )
    (problem,) = load_definitions(tmp_path).problems
    assert problem.line == 3
    assert "twice.py:2)" in problem.message


@pytest.mark.parametrize(
    "microseconds, text",
    [(-809_832_182_233_337, "-9373d 1h"), (0, "0s"), (5, "5us"), (61_000_000, "1m 1s"), (None, None), (-11_520_000_000, "-3h 12m")],
)
def test_a_distance_in_time_is_readable(microseconds: int | None, text: str | None) -> None:
    assert format_duration(microseconds) == text
