"""A store without definitions, and one with two versions of a view."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.lakehouse import tables
from featurestore.records.feature_table import State
from featurestore.records.runtime import Runtime
from featurestore.values import times
from tests import worlds

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """An empty store."""
    with FeatureStore(home=tmp_path / "home") as store:
        yield store


@pytest.fixture
def runtime(store: FeatureStore) -> Runtime:
    """What the pipelines of the store share."""
    return store.backend.runtime


def apply_views(store: FeatureStore, features: dict[str, str] | list[str]) -> None:
    """Apply the services of_v and of_w over the views v, with these features, and w."""
    entity, source = Entity("e", keys="k"), Source("s", table="raw.s", timestamp="at")
    views = [
        FeatureView("v", entity=entity, source=source, features=features),
        FeatureView("w", entity=entity, source=source, features=["x"]),
    ]
    store.apply([FeatureService(f"of_{view.name}", features=[view]) for view in views])


def fill(store: FeatureStore) -> None:
    """Version 1 of v with two rows, also online; then version 2 without rows. The view w has never been materialized."""
    rows = {"k": pa.array([1, 2], pa.int64()), "at": pa.array([DAY, DAY], worlds.STAMP), "x": pa.array([10, 20], pa.int64())}
    worlds.load_source(store, "raw.s", pa.table(rows))
    apply_views(store, ["x"])
    store.materialize("v")
    apply_views(store, {"x": "x + 1"})


@pytest.fixture(scope="session")
def versions_template(tmp_path_factory: pytest.TempPathFactory) -> worlds.Template:
    """The store of `versioned`, filled once."""
    return worlds.Template(tmp_path_factory.mktemp("versions"), fill)


@pytest.fixture
def versioned(versions_template: worlds.Template) -> Iterator[Runtime]:
    """The store that `fill` makes; a test may change it."""
    with versions_template.opened() as store:
        yield store.backend.runtime


def mark_materialized(runtime: Runtime, name: str) -> None:
    """Give a feature table a watermark, as a run without rows that was killed before its publish leaves it."""
    tables.set_properties(tables.load(runtime.catalog, runtime.features_table(name)), State(through=times.micros(DAY)).to_properties())
