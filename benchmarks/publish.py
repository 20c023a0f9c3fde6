"""Publishing rows of ten features to the online stores, against writes of the same bytes by the bare clients of LMDB and Redis."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lmdb
import numpy as np
import pyarrow as pa
import redis
from rich.console import Console
from rich.table import Table

from benchmarks import data
from featurestore.online.factory import open_online
from featurestore.online.rows import encode_rows, shape_of
from featurestore.online.store import Cursor, OnlineStore

REDIS = "redis://127.0.0.1:6379/9"
PREFIX = "publish-benchmark"
FEATURES = 10
STEP = 2000
FEW = 1000
"""Rows that are published into a table that has all others."""

Pairs = list[tuple[bytes, bytes]]


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Rows of as many keys: into an empty table, over older rows, and a thousand over those. Returns seconds against the bare client's."""
    ratios: dict[str, float] = {}
    table = Table("", "rows a second", "bare client", "seconds against it", f"{FEW:,} rows more, ms", "bytes a row", title_justify="left")
    table.title = f"publishing {rows:,} rows of {FEATURES} features"
    with TemporaryDirectory() as folder:
        pairs = _encoded(_rows(rows, 0))
        places: dict[str, tuple[str, Callable[[], float]]] = {
            "LMDB": (f"lmdb://{folder}/online", lambda: _put_lmdb(Path(folder) / "bare", pairs)),
            **({"Redis": (f"{REDIS}?prefix={PREFIX}", lambda: _set_redis(pairs))} if has_redis() else {}),
        }
        for name, (address, put) in places.items():
            for _ in range(rounds):
                bare = put()
                with closing(open_online(address)) as store, _dropped(store):
                    empty = _bytes(Path(folder), name)
                    first = _publish(store, _rows(rows, 0), 0)
                    size = (_bytes(Path(folder), name) - empty) / rows
                    seconds = {"first": first, "overwriting": _publish(store, _rows(rows, 1), 1)}
                    few = _publish(store, _rows(FEW, 9), 9)
                for what, taken in seconds.items():
                    ratios[f"{name}, {what}"] = min(taken / bare, ratios.get(f"{name}, {what}", float("inf")))
                    figures = (f"{rows / taken:,.0f}", f"{rows / bare:,.0f}", f"{taken / bare:.2f}", f"{few * 1000:.0f}", f"{size:.0f}")
                    table.add_row(f"{name}, {what}", *figures)
    console.print(table)
    return ratios


def _rows(count: int, age: int) -> pa.Table:
    """Rows of the keys 0, 1, ...; those of a greater age are newer."""
    random = np.random.default_rng(age)
    times = pa.array(data.START + age * data.DAY + random.integers(0, data.DAY, count), data.STAMP)
    features: dict[str, Any] = {
        f"f{column}": random.integers(0, 1_000_000, count) if column % 10 >= 7 else random.standard_normal(count)
        for column in range(FEATURES)
    }
    return pa.table({"key": np.arange(count), "feature_timestamp": times, "created_timestamp": times, **features})


def _publish(store: OnlineStore, rows: pa.Table, age: int) -> float:
    began = time.perf_counter()
    store.publish("t_v1", rows, keys=["key"], cursor=Cursor(age, None))
    return time.perf_counter() - began


def _encoded(rows: pa.Table) -> Pairs:
    parts = encode_rows(rows, shape_of(rows.schema, ["key"]))
    return [pair for keys, values in parts for pair in zip(keys.to_pylist(), values.to_pylist(), strict=True)]


def _put_lmdb(path: Path, pairs: Pairs) -> float:
    path.mkdir()
    with lmdb.open(str(path), map_size=1 << 32) as file:
        began = time.perf_counter()
        with file.begin(write=True) as transaction:
            transaction.cursor().putmulti(pairs)
        taken = time.perf_counter() - began
    for left in path.iterdir():
        left.unlink()
    path.rmdir()
    return taken


def _set_redis(pairs: Pairs) -> float:
    with redis.Redis.from_url(REDIS) as client:
        began = time.perf_counter()
        for batch in _batches(pairs):
            client.mset({f"{PREFIX}-bare:".encode() + key: row for key, row in batch})
        taken = time.perf_counter() - began
        for batch in _batches(pairs):
            client.unlink(*(f"{PREFIX}-bare:".encode() + key for key, _ in batch))
    return taken


def _batches(pairs: Pairs) -> Iterator[Pairs]:
    return (pairs[start : start + STEP] for start in range(0, len(pairs), STEP))


def _bytes(folder: Path, name: str) -> int:
    """What a store takes: of the disk, or of Redis' memory."""
    if name == "LMDB":
        return (folder / "online" / "data.mdb").stat().st_size
    with redis.Redis.from_url(REDIS) as client:
        return int(client.info("memory")["used_memory"])


def has_redis() -> bool:
    """Whether a Redis runs on this machine."""
    try:
        with redis.Redis.from_url(REDIS) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def _dropped(store: OnlineStore) -> Iterator[None]:
    """Drops the table before and after the block."""
    store.drop("t_v1")
    try:
        yield
    finally:
        store.drop("t_v1")
