"""Processes that maintain a store or compute its views, forked from one that has imported everything."""

import os
from datetime import timedelta
from pathlib import Path

from featurestore import FeatureStore, Settings
from featurestore.lakehouse import compaction
from featurestore.pipelines.maintenance import maintain
from tests.lakehouse import killed_process


def upkeep(home: Path, grace: timedelta, catalog: dict[str, str], dies_at: int, steps: Path) -> None:
    """Maintain the store, or die at a step; `steps` is where their number is written at the end."""
    os.environ["DIES_AT"] = str(dies_at)
    compaction.MIN_SMALL_FILES, maintain.GRACE = 2, grace
    FeatureStore(settings=Settings(home=home, catalog=catalog)).maintain(older_than=timedelta(0), drop_superseded_after=timedelta(0))
    steps.write_text(str(next(killed_process.STEPS) - 1))


def run(home: Path) -> None:
    """Materialize every view."""
    FeatureStore(home=home).materialize()
