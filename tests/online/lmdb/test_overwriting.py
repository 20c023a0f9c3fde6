"""The bytes of rows that were deleted or replaced are overwritten, and nothing else changes."""

import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.online.lmdb.store import LmdbStore
from featurestore.online.store import Cursor

CANARY = b"CANARY-7f3a"
STAMP = pa.timestamp("us", "UTC")
READER = """
import sys, lmdb
environment = lmdb.open(sys.argv[1], readonly=True, map_size=1 << 28)
with environment.begin() as transaction:
    print("reading", flush=True)
    sys.stdin.read()
"""


def rows(count: int, at: int, secret: bool) -> pa.Table:
    dice = random.Random(at)
    names = [f"{CANARY.decode()}-{number}" if secret and number % 5 == 2 else f"person-{number}" for number in range(count)]
    texts = [f"{'note of ' + name if secret else 'none'} {'x' * dice.randrange(300)}" for name in names]
    times = pa.array([at] * count, STAMP)
    return pa.table({"k": names, "feature_timestamp": times, "created_timestamp": times, "note": texts})


def found(folder: Path) -> int:
    return (folder / "data.mdb").read_bytes().count(CANARY)


def fill(store: LmdbStore) -> list[tuple[str]]:
    """A table, in which every row is replaced, and those of the key are deleted; the keys that are left."""
    secret, plain = rows(4_000, 1, secret=True), rows(4_000, 2, secret=False)
    store.publish("other", rows(500, 3, secret=False), keys=["k"], cursor=Cursor(1, None))
    store.publish("t", secret, keys=["k"], cursor=Cursor(1, None))
    kept = plain.filter(pa.array([number % 5 != 2 for number in range(4_000)]))
    store.publish("t", kept, keys=["k"], cursor=Cursor(2, None), replace=True)
    return [(key,) for key in kept["k"].to_pylist()]


def test_deleted_bytes_are_overwritten(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    keys = fill(store)
    others = [(f"person-{number}",) for number in range(500)]
    before = store.read([("t", keys), ("other", others)])
    assert found(tmp_path)
    assert store.overwrite_freed() == []
    assert found(tmp_path) == 0
    assert store.read([("t", keys), ("other", others)]) == before
    assert store.incomplete(["t", "other"]) == {}
    assert store.size(["t"]).rows == {"t": len(keys)}
    # Again, and with a publish in between.
    store.publish("t", rows(10, 9, secret=False), keys=["k"], cursor=Cursor(3, None))
    assert store.overwrite_freed() == []
    assert store.read([("other", others)]) == before[1:]
    store.close()


def test_an_empty_store(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    assert store.overwrite_freed() == []
    store.close()


@pytest.mark.slow
def test_what_a_reader_holds_is_said(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    secret = rows(4_000, 1, secret=True)
    store.publish("t", secret, keys=["k"], cursor=Cursor(1, None))
    with subprocess.Popen([sys.executable, "-c", READER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reading\n"
        store.publish("t", rows(4_000, 2, secret=False), keys=["k"], cursor=Cursor(2, None), replace=True)
        (left,) = store.overwrite_freed()
        assert "held by a reader that does not end; erase again" in left
        assert found(tmp_path)
        reader.communicate()
    assert store.overwrite_freed() == []
    assert found(tmp_path) == 0
    store.close()
