"""Event files for tests of copies: rows of three users, in a file of a day's folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source, agg
from tests.worlds import STAMP

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
USER = Entity("user", keys="user_id")


def rows(day: int, amounts: list[float]) -> pa.Table:
    """An event of each amount, three hours after one another, of the users 0, 1, 2, 0, ..."""
    at = [BEGIN + timedelta(days=day, hours=3 * number) for number in range(len(amounts))]
    users = pa.array([number % 3 for number in range(len(amounts))], pa.int64())
    return pa.table({"user_id": users, "at": pa.array(at, STAMP), "amount": pa.array(amounts, pa.float64())})


def write(folder: Path, day: int, amounts: list[float], name: str = "a") -> Path:
    """Write a day's file, in its partition."""
    path = folder / f"day=2026-01-{day + 1:02d}" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows(day, amounts), path)
    return path


def service(name: str, source: Source) -> FeatureService:
    """Windows and last values of the events of a source."""
    windows = {"n": agg.count(over=["1d", "3d"]), "spent": agg.sum("amount", over="3d"), "greatest": agg.max("amount", over="1d")}
    sums = FeatureView(f"{name}_sums", entity=USER, source=source, every="1d", features=windows)
    last = FeatureView(f"{name}_last", entity=USER, source=source, features={"amount": "amount", "day": "day"})
    return FeatureService(name, features=[sums, last])


def serve(store: FeatureStore, source: Source, name: str = "s") -> FeatureService:
    """Apply the service of a source, and materialize it."""
    made = service(name, source)
    store.apply([made])
    store.materialize()
    return made


def joined(store: FeatureStore, name: str = "s") -> list[dict[str, Any]]:
    """The features of each user at each half day of two weeks."""
    spine = [{"user_id": user, "t": BEGIN + timedelta(hours=12 * step)} for user in range(3) for step in range(28)]
    found: list[dict[str, Any]] = store.point_in_time(name, spine, timestamp="t").to_pylist()
    return found


def kept(store: FeatureStore) -> Any:
    """The one copy of the store, as pyiceberg has it."""
    (name,) = store.catalog.list_tables("kept")
    return store.catalog.load_table(name)
