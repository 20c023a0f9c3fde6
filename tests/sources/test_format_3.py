"""Tables of Iceberg's format 3, which pyiceberg cannot write, as sources: nanoseconds and row lineage."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.lakehouse import tables
from tests.lakehouse.deletes import delete_by_vector

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND
MOMENTS = [START + SECOND + 999, START + 2 * SECOND + 501, START + 3 * SECOND + 499, -1, START]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
IDS = [1, 2, 3, 4, 5]
NANOS = {"timestamptz": "timestamptz_ns", "timestamp": "timestamp_ns"}

item = Entity("item", keys="id")
events = Source("events", table="third.events", timestamp="at")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """A store with a table of format 3, the last of whose rows is deleted by a vector."""
    with FeatureStore(home=tmp_path / "home") as store:
        write(store)
        delete_by_vector(tables.load(store.catalog, "third.second"), [IDS.index(5)])
        register(store)
        yield store


def write(store: FeatureStore) -> None:
    """The same table in format 2, whose data file has nanoseconds already; without bounds of columns, which would be microseconds."""
    store.catalog.create_namespace("third")
    micros = pa.array([n // 1000 for n in MOMENTS], pa.timestamp("us", "UTC"))
    rows = pa.table({"id": pa.array(IDS, pa.int64()), "at": micros, "seen": micros.cast(pa.timestamp("us"))})
    without_bounds = {"format-version": "2", "write.metadata.metrics.default": "none"}
    table = store.catalog.create_table("third.second", schema=rows.schema, properties=without_bounds)
    table.append(rows)
    [task] = table.scan().plan_files()
    kinds = {"id": pa.int64(), "at": pa.timestamp("ns", "UTC"), "seen": pa.timestamp("ns")}
    fields = [pa.field(name, kind, metadata={b"PARQUET:field_id": str(at).encode()}) for at, (name, kind) in enumerate(kinds.items(), 1)]
    columns = [pa.array(IDS if name == "id" else MOMENTS, kind) for name, kind in kinds.items()]
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), task.file.file_path.removeprefix("file://"))


def register(store: FeatureStore) -> None:
    """The table's metadata as format 3 has them, under a name of their own."""
    path = Path(store.catalog.load_table("third.second").metadata_location.removeprefix("file://"))
    metadata = json.loads(path.read_text())
    metadata |= {"format-version": 3, "next-row-id": len(IDS)}
    for field in (field for schema in metadata["schemas"] for field in schema["fields"]):
        field["type"] = NANOS.get(field["type"], field["type"])
    for number, snapshot in enumerate(metadata["snapshots"]):
        snapshot |= {"first-row-id": 0, "added-rows": len(IDS) if number == 0 else 0}
    third = path.with_name(f"third-{path.name}")
    third.write_text(json.dumps(metadata))
    store.catalog.register_table("third.events", str(third))


def micros(value: Any) -> int:
    return int((value.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1))


def test_nanoseconds_are_cut_alike_in_features_spines_and_online(store: FeatureStore) -> None:
    assert store.catalog.load_table("third.events").format_version == 3
    view = FeatureView("seen", entity=item, source=events, features=["seen"])
    store.apply([FeatureService("seen", features=[view])])
    [run] = store.materialize("seen")
    assert run.rows_appended == 4
    floored = [n // 1000 for n in MOMENTS[:4]]
    online = store.online_features("seen", [{"id": id} for id in IDS])
    assert [micros(seen) for (seen,) in online.rows[:4]] == floored
    assert online.status["seen"][4] == "NOT_FOUND"
    offline = store.point_in_time("seen", "SELECT id, at FROM third.events ORDER BY id", "at").to_pylist()
    assert [(row["id"], micros(row["at"]), micros(row["seen"])) for row in offline] == list(zip(IDS[:4], floored, floored, strict=True))


def test_windows_and_a_second_run(store: FeatureStore) -> None:
    features = {"n": agg.count(over="1m"), "last": agg.last("seen", over="1m")}
    view = FeatureView("counts", entity=item, source=events, every="1s", features=features)
    store.apply([FeatureService("counts", features=[view])])
    store.materialize("counts")
    assert [run.rows_appended for run in store.materialize("counts")] == [0]
    at = EPOCH + timedelta(microseconds=START // 1000, seconds=4)
    rows = store.point_in_time("counts", [{"id": id, "t": at} for id in (1, 2, 3, 5)], "t").to_pylist()
    assert [row["n_1m"] for row in rows] == [1, 1, 1, None]
    assert [micros(row["last_1m"]) for row in rows[:3]] == [n // 1000 for n in MOMENTS[:3]]
