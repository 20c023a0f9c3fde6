"""The request of a training set: checked when it is made, and the same again from its JSON form."""

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest

from featurestore.errors import RequestError
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.spines.time_grid import SpineGrid

MOMENT = datetime(2026, 3, 1, 0, 0, 0, 1, UTC)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"label": "churned", "name": "march", "known": "then", "snapshots": {"orders_v1": 1 << 62, "empty_v1": None}},
        {"split": {"train": 0.75, "test": 0.25}},
        {"split": {"train": 0.75, "test": 0.25}, "by": ["shop", "customer"]},
        {"split": {"train": MOMENT, "test": None}},
    ],
)
def test_a_request_comes_back_from_its_json_form(arguments: dict[str, Any]) -> None:
    request = TrainingSetRequest.of("churn", None, start="2026-01-01", end="2026-01-02", every="1d", **arguments)
    document = request.to_dict()
    again = TrainingSetRequest.from_dict(document)
    assert again.to_dict() == document
    assert (again.name, again.split, again.snapshots) == (arguments.get("name", "churn"), request.split, arguments.get("snapshots", {}))
    assert again.spine is None


def test_a_grid_is_a_spine_with_a_column_of_its_own() -> None:
    request = TrainingSetRequest.of("churn", start="1970-01-01", end="1970-01-02", every="1d")
    assert (request.spine, request.timestamp) == (SpineGrid(0, 86_400_000_000, 86_400_000_000), "timestamp")


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"spine": None}, "give spine= with timestamp="),
        ({"timestamp": None}, "a spine needs timestamp="),
        ({"every": "1d"}, "give either spine= or start="),
        ({"known": "later"}, "known='later' must be"),
        ({"label": 3}, "label=3 is not text"),
        ({"name": "a b"}, "'a b' is not a valid name"),
        ({"name": ""}, "'' is not a valid name"),
        ({"service": 7}, "service must be a name or a FeatureService"),
        ({"snapshots": {"orders_v1": "1"}}, "orders_v1 must be a snapshot id"),
        ({"split": {"train": 0.5}}, "the fractions add up to 0.5"),
        ({"by": "customer"}, "by= needs split="),
    ],
)
def test_a_wrong_argument_is_refused_when_the_request_is_made(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        TrainingSetRequest.of(**{"service": "churn", "spine": [{"t": "2026-01-01"}], "timestamp": "t", **wrong})


def test_a_request_does_not_change() -> None:
    request = TrainingSetRequest.of("churn", [{"t": "2026-01-01"}], "t")
    with pytest.raises(FrozenInstanceError):
        request.service = "other"  # type: ignore[misc]
