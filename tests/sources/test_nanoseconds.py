"""Nanoseconds are truncated toward the past when rows are read; results of SQL with nanoseconds are refused."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.errors import DefinitionError
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000
MOMENTS = [1_767_225_600 * SECOND + rest for rest in (999, 501, 500, 499, 1)] + [-1, -499, -500, -501, -999, -1000, -1001]

item = Entity("item", keys="id")
IDS = pa.array(range(len(MOMENTS)), pa.int64())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path / "home") as store:
        yield store


def micros(value: Any) -> int:
    """Microseconds of what came out, exact or not at all."""
    moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return int((moment - EPOCH) // timedelta(microseconds=1))


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_files_and_spines_are_cut_alike(store: FeatureStore, tmp_path: Path, zone: str | None) -> None:
    seen = pa.array(MOMENTS, pa.timestamp("ns", zone))
    pq.write_table(
        pa.table({"id": IDS, "at": seen, "seen": seen, "all": pa.array([[n] for n in MOMENTS], pa.list_(seen.type))}),
        tmp_path / "e.parquet",
    )
    source = Source("seen", path=str(tmp_path / "e.parquet"), timestamp="at")
    view = FeatureView("seen", entity=item, source=source, features=["seen", "all"])
    store.apply([FeatureService("seen", features=[view], derived={"same": "seen"})])
    store.materialize()
    floored = [n // 1000 for n in MOMENTS]
    # Each is looked up at its own time: a spine that was rounded up or a row that was would be a nanosecond's neighbour.
    offline = store.point_in_time("seen", pa.table({"id": IDS, "t": seen}), "t").to_pylist()
    online = store.online_features("seen", [{"id": id} for id in IDS.to_pylist()])
    looked_up = [dict(zip(online.features, row, strict=True)) for row in online.rows]
    for rows in (offline, looked_up):
        assert [micros(row["seen"]) for row in rows] == floored
        assert [micros(row["all"][0]) for row in rows] == floored
        assert [micros(row["same"]) for row in rows] == floored
    assert [micros(row["t"]) for row in offline] == floored
    stored = store.catalog.load_table("features.seen_v1").scan().to_arrow().sort_by("id")
    assert [micros(at) for at in stored.column("feature_timestamp").to_pylist()] == floored


@pytest.mark.parametrize(
    "features, derived, columns, created, message",
    [
        ({"x": "CAST(text AS TIMESTAMP_NS)"}, {}, {}, None, "features.x: 'x' has type TIMESTAMP_NS"),
        ({"x": "[CAST(text AS TIMESTAMP_NS)]"}, {}, {}, None, "features.x: 'x' has type TIMESTAMP_NS"),
        ({"x": "text"}, {"y": "CAST(x AS TIMESTAMP_NS)"}, {}, None, "derived.y: 'CAST(x AS TIMESTAMP_NS)' has type TIMESTAMP_NS"),
        ({"x": "text"}, {}, {"t": "CAST(text AS TIMESTAMP_NS)"}, None, "'t' is TIMESTAMP_NS, not a timestamp or date of microseconds"),
        (
            {"x": "text"},
            {},
            {"t": "at", "c": "CAST(text AS TIMESTAMP_NS)"},
            "c",
            "'c' is TIMESTAMP_NS, not a timestamp or date of microseconds",
        ),
    ],
)
def test_what_sql_makes_of_them_is_refused(
    store: FeatureStore, features: dict[str, str], derived: dict[str, str], columns: dict[str, str], created: str | None, message: str
) -> None:
    load_source(store, "shop.e", pa.table({"id": [1], "at": pa.array([T], STAMP), "text": ["2026-01-01 00:00:00.000000501"]}))
    source = Source("e", table="shop.e", timestamp="t" if columns else "at", columns=columns, created=created)
    view = FeatureView("v", entity=item, source=source, features=features)
    with pytest.raises(DefinitionError) as caught:
        store.apply([FeatureService("s", features=[view], derived=derived)])
    assert message in str(caught.value)
    assert "CAST " in str(caught.value)
