"""A store without definitions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.records.runtime import Runtime


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """An empty store."""
    with FeatureStore(home=tmp_path / "home") as store:
        yield store


@pytest.fixture
def runtime(store: FeatureStore) -> Runtime:
    """What the pipelines of the store share."""
    return store.backend.runtime
