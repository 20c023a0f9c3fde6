"""Makes a Feast repository of the files of a benchmark and writes their newest rows to Redis: `feast_repo.py FOLDER REDIS VIEWS`.

Runs in an environment of its own, which has Feast and not this package.
"""

import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64

SERVICE = "endless"


def main(folder: Path, redis: str, views: int) -> None:
    """Apply the views and the service, and write the newest row of each key."""
    (folder / "feature_store.yaml").write_text(
        f"project: bench\nprovider: local\nregistry: {folder / 'registry.db'}\nentity_key_serialization_version: 3\n"
        f'online_store:\n  type: redis\n  connection_string: "{redis}"\n'
    )
    store = FeatureStore(repo_path=str(folder))
    key = Entity(name="thing", join_keys=["key"], value_type=ValueType.INT64)
    applied, rows = [], {}
    for seed in range(views):
        path = folder.parent / f"view{seed}.parquet"
        frame = pd.read_parquet(path)
        names = [name for name in frame.columns if name.startswith("r")]
        fields = [Field(name=name, dtype=Int64 if frame[name].dtype.kind == "i" else Float64) for name in names]
        source = FileSource(name=f"source{seed}", path=str(path), timestamp_field="event_time")
        applied.append(FeatureView(name=f"view{seed}", entities=[key], ttl=timedelta(0), schema=fields, source=source))
        rows[f"view{seed}"] = frame.sort_values("event_time", kind="stable").drop_duplicates("key", keep="last")
    store.apply([key, *applied, FeatureService(name=SERVICE, features=applied)])
    for name, frame in rows.items():
        store.write_to_online_store(name, frame)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
