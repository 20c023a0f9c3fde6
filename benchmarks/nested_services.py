"""A store whose services have some of the same views, for what a training set costs by its size."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks import data
from benchmarks.join import DAYS
from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source


def fill_nested(home: Path, rows: int, features: int, counts: Sequence[int]) -> None:
    """A store in `home` with a service `of<n>` for each of the counts, of the first n views.

    Each view has `rows` rows of a twentieth as many keys.
    """
    with FeatureStore(home=home / "store") as store:
        store.catalog.create_namespace("raw")
        views = []
        for seed in range(max(counts)):
            table = data.readings(rows, max(rows // 20, 1), features, DAYS, seed)
            store.catalog.create_table(f"raw.view{seed}", schema=table.schema).append(table)
            source = Source(f"view{seed}", table=f"raw.view{seed}", timestamp="event_time")
            names = [name for name in table.schema.names if name.startswith("r")]
            views.append(FeatureView(f"view{seed}", entity=Entity("thing", keys="key"), source=source, features=names))
            # Of wide tables two would not fit.
            del table
        store.apply([FeatureService(f"of{count}", features=views[:count]) for count in counts])
        store.materialize()
