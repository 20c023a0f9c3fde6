"""One suite for every catalog and warehouse: the same verbs come to the same rows, digests and files."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from featurestore.errors import Conflict
from tests.back_ends.back_end import BACK_ENDS, OpenBackEnd, sqlite_and_folder
from tests.worlds import STAMP, load_source

pytestmark = pytest.mark.slow

T = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVENTS = pa.schema([("k", pa.int64()), ("at", STAMP), ("x", pa.float64())])
END = T + timedelta(days=9)


def declare(unit: str = "2d") -> list[FeatureService]:
    source, thing = Source("s", table="raw.events", timestamp="at"), Entity("thing", keys="k")
    sums = FeatureView("sums", entity=thing, source=source, every="1d", features={"n": agg.count(over=unit), "x": agg.sum("x", over=unit)})
    return [FeatureService("service", features=[sums, FeatureView("last", entity=thing, source=source, features=["x"], ttl="3d")])]


def events(hours: list[int]) -> pa.Table:
    return pa.Table.from_pylist([{"k": hour // 3 % 3, "at": T + hour * HOUR, "x": hour / 10} for hour in hours], EVENTS)


def spine() -> pa.Table:
    return pa.table({"k": [row % 4 for row in range(30)], "t": pa.array([T + row * 7 * HOUR for row in range(30)], STAMP)})


FIRST, LATE = [hour for hour in range(0, 200, 3) if hour % 30], [30, 60, 90, 120]


def live(store: FeatureStore, seen: dict[str, Any]) -> None:
    """Apply, materialize, late rows, training sets, another version, maintenance, removals, in this order."""
    load_source(store, "raw.events", events(FIRST))
    store.apply(declare())
    store.materialize(end=END)
    early = store.training_set("service", spine(), "t", name="early")
    store.catalog.load_table("raw.events").append(events(LATE))
    late = store.materialize(end=END)
    seen["late rows"] = [(view.view, view.rows_appended, view.corrections) for view in late]
    seen["nothing new"] = [view.rows_appended for view in store.materialize(end=END)]
    full = store.training_set("service", spine(), "t", name="full")
    store.maintain(older_than=timedelta(0))
    seen["digests"] = [store.rebuild(made.id).digest for made in (early, full)]
    assert seen["digests"] == [early.digest, full.digest]
    seen["rows"] = full.to_arrow().to_pylist()
    seen["online"] = store.online_features("service", [{"k": k} for k in range(4)]).to_dict()["rows"]
    with pytest.raises(Conflict, match="pinned by the training set"):
        store.remove_view("last")
    store.apply(declare("3d"))
    store.materialize(end=END)
    seen["removed"] = [store.remove_training_set(made.id).rows for made in (early, full)]
    seen["version"] = store.remove_version("sums", 1).versions
    seen["notes"] = [table.note for table in store.maintain(older_than=timedelta(0))]
    seen["health"] = store.check(write=True).to_dict()


@pytest.fixture(scope="module")
def expected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a life in one folder comes to."""
    seen: dict[str, Any] = {}
    folder = tmp_path_factory.mktemp("expected")
    with sqlite_and_folder(folder, request) as back_end, FeatureStore(settings=back_end.settings) as store:
        live(store, seen)
    return seen


@pytest.mark.parametrize("open_back_end", BACK_ENDS, ids=lambda open_back_end: open_back_end.__name__)
def test_a_whole_life(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, Any],
    open_back_end: OpenBackEnd,
) -> None:
    # Without its own package for planning, polars warns unless it is told to plan with pyiceberg.
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")
    with open_back_end(tmp_path, request) as back_end, FeatureStore(settings=back_end.settings) as store:
        seen: dict[str, Any] = {}
        live(store, seen)
        assert seen == expected
        assert set(seen["notes"]) == {None}
        assert set(seen["health"].values()) == {None}
        assert back_end.stored("features/sums_v1") == set(), "no file of a version that was removed"
        check_rows(seen["rows"])
        check_outside_readers(store)


def check_rows(rows: list[dict[str, Any]]) -> None:
    """The rows of a training set, by plain Python."""
    known = events(sorted(FIRST + LATE)).to_pylist()
    for row in rows:
        grid = T + (row["t"] - T) // timedelta(days=1) * timedelta(days=1)
        window = [event["x"] for event in known if event["k"] == row["k"] and grid - timedelta(days=2) <= event["at"] < grid]
        assert (row["n_2d"] or 0) == len(window), row
        recent = [event for event in known if event["k"] == row["k"] and row["t"] - timedelta(days=3) <= event["at"] <= row["t"]]
        assert row["x"] == (recent[-1]["x"] if recent else None), row


def check_outside_readers(store: FeatureStore) -> None:
    """pyiceberg alone and polars read the rows that the store does."""
    table = store.catalog.load_table("features.last_v1")
    rows = sorted((row["k"], row["feature_timestamp"], row["x"]) for row in table.scan().to_arrow().to_pylist())
    assert rows == sorted((event["k"], event["at"], event["x"]) for event in events(FIRST + LATE).to_pylist())
    access = {name: value for name, value in table.io.properties.items() if name.startswith("s3.")}
    options = {**access, "aws_allow_http": "true"} if access else {}
    scanned = pl.scan_iceberg(table, storage_options=options).select("k", "feature_timestamp", "x").collect().rows()
    assert sorted(scanned) == rows
