"""Every argument of a feature lookup with wrong values: it works, or our error names the argument."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from featurestore import FeatureLookup, FeatureStore
from tests.definitions.wrong_values import faults
from tests.pipelines.written.writing import moment

FRAME = [{"customer": 1, "t": moment(2)}]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store with a written table of one row."""
    with FeatureStore(home=tmp_path_factory.mktemp("lookups")) as opened:
        opened.create_table("timed", "id", "at", schema={"id": "long", "at": "timestamp", "x": "int"})
        opened.write_table("timed", [{"id": 1, "at": moment(1), "x": 1}])
        yield opened


@pytest.mark.parametrize("argument", inspect.signature(FeatureLookup).parameters)
def test_a_wrong_argument_works_or_is_named(argument: str, store: FeatureStore) -> None:
    def create(value: Any) -> None:
        lookup = FeatureLookup(**{"table": "timed", "lookup_key": "customer", argument: value})
        store.create_training_set(FRAME, [lookup], timestamp="t")

    assert faults(create, rf"\b{argument}\b|no (view|column|feature) '|selects no feature") == []
