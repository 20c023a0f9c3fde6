"""Small worlds for tests: source tables in a real catalog."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, settings
from pyiceberg.table import Table

from featurestore import FeatureStore, Settings

STAMP = pa.timestamp("us", tz="UTC")


def load_source(store: FeatureStore, name: str, rows: pa.Table) -> Table:
    """A source table with these rows."""
    store.catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
    table = store.catalog.create_table(name, schema=rows.schema)
    if rows.num_rows:
        table.append(rows)
    return table


class Template:
    """A store that is filled once, and then copied to where it was filled: its catalog names files by their whole paths."""

    def __init__(self, folder: Path, fill: Callable[[FeatureStore], object], **settings: Any) -> None:
        self._home, self._kept = folder / "home", folder / "kept"
        self._settings = Settings(home=self._home, **settings)
        with FeatureStore(settings=self._settings) as store:
            fill(store)
        shutil.copytree(self._home, self._kept)

    @contextmanager
    def opened(self) -> Iterator[FeatureStore]:
        """The store as it was filled. There is one at a time."""
        shutil.rmtree(self._home)
        shutil.copytree(self._kept, self._home)
        with FeatureStore(settings=self._settings) as store:
            yield store


def on_a_store(examples: int) -> settings:
    """Settings for properties of a whole store: an example takes a good part of a second, so failures are not shrunk."""
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    return settings(max_examples=examples, deadline=None, phases=phases, suppress_health_check=[HealthCheck.function_scoped_fixture])
