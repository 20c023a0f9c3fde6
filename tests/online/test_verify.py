"""Comparing the online store with the tables finds every lost or changed row, for all types, and nothing else."""

import math
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from struct import Struct
from typing import Any

import orjson
import pyarrow as pa
import pytest
import redis

from featurestore import Entity, FeatureStore, FeatureView, Source
from featurestore.errors import CommitConflict, Conflict, NotFound, NotReady, RequestError
from featurestore.online.header import decode_header
from featurestore.online.keys import decode_key, encode_key
from featurestore.online.lmdb.environments import ENVIRONMENTS
from featurestore.online.store import Cursor
from featurestore.pipelines.maintenance.online_comparison import OnlineComparison
from tests.cli.running import process
from tests.online.templates import OnlineTemplate
from tests.worlds import STAMP, load_source

T = datetime(2026, 3, 1, tzinfo=UTC)
COUNT = 6
HEAD = Struct(">QI")
VALUES: dict[str, tuple[pa.DataType, Callable[[int], Any]]] = {
    "flag": (pa.bool_(), lambda i: i % 2 == 0),
    "small": (pa.int32(), lambda i: i - 3),
    "long": (pa.int64(), lambda i: -(2**63) + i),
    "single": (pa.float32(), lambda i: [0.1, -0.0, math.nan, math.inf, -1.5, 3e38][i]),
    "double": (pa.float64(), lambda i: [0.1, 0.0, math.nan, -math.inf, -0.0, 5e-324][i]),
    "text": (pa.string(), lambda i: f"käufer {i}"),
    "data": (pa.binary(), lambda i: bytes([i, 0, 255])),
    "day": (pa.date32(), lambda i: date(1, 1, 1) + timedelta(days=i * 500_000)),
    "moment": (STAMP, lambda i: T - timedelta(microseconds=i * 10**15 + 1)),
    "price": (pa.decimal128(38, 10), lambda i: Decimal(i - 2) / 8),
    "numbers": (pa.list_(pa.float64()), lambda i: [[-0.0, math.nan], [], [None, 0.0], [1.5], [math.inf], [2.0] * 9][i]),
    "texts": (pa.list_(pa.string()), lambda i: ["ä", None] * i),
}
KEYS: dict[str, tuple[pa.DataType, Callable[[int], Any]]] = {
    "k": (pa.int64(), lambda i: i),
    "name": (pa.string(), lambda i: f"ü/{i}:*"),
    "long_name": (pa.string(), lambda i: f"{i}" * 600),
    "born": (pa.date32(), lambda i: date(1969, 12, 30) + timedelta(days=i)),
    "at_key": (STAMP, lambda i: T - timedelta(days=i * 30_000, microseconds=1)),
    "number": (pa.decimal128(12, 2), lambda i: Decimal(i * 37 - 50) / 100),
    "sign": (pa.int64(), lambda i: -i),
    "id": (pa.uuid(), lambda i: uuid.UUID(int=2**127 + i)),
}
ENTITIES = {"v": ["k"], "by_name": ["name"], "by_long": ["long_name"], "by_all": ["name", "born", "at_key", "number", "sign", "id"]}


def column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    return pa.array([value.bytes for value in values], pa.binary(16)).cast(kind) if kind == pa.uuid() else pa.array(values, kind)


def rows(number: int = COUNT) -> pa.Table:
    """`number` rows with a value of every type, and one with none."""
    keys = {name: column(kind, [make(at) for at in range(number + 1)]) for name, (kind, make) in KEYS.items()}
    values = {name: column(kind, [*map(make, range(number)), None]) for name, (kind, make) in VALUES.items()}
    return pa.table({**keys, **values, "at": pa.array([T + timedelta(days=at) for at in range(number + 1)], STAMP)})


def fill(store: FeatureStore) -> None:
    """Materialize views of every type under keys of every type, and leave one out."""
    load_source(store, "raw.s", rows())
    source = Source("s", table="raw.s", timestamp="at")
    views = [FeatureView(name, entity=Entity(name, keys=keys), source=source, features=list(VALUES)) for name, keys in ENTITIES.items()]
    later = FeatureView("later", entity=Entity("l", keys="k"), source=source, features=["long"])
    store.apply([*views, later])
    store.materialize(list(ENTITIES))


@pytest.fixture
def url(template: OnlineTemplate) -> str:
    return template.url


@pytest.fixture
def store(template: OnlineTemplate) -> Iterator[FeatureStore]:
    """Views of every type under keys of every type, materialized, and one that is not."""
    with template.opened() as store:
        yield store


class Raw:
    """What the online store has under its own names: a row's bytes by its encoded key, to be changed by hand."""

    def __init__(self, url: str, table: str) -> None:
        self._folder = Path(url.removeprefix("lmdb://")) if url.startswith("lmdb:") else None
        address, _, prefix = url.partition("?prefix=")
        self._redis = None if self._folder else redis.Redis.from_url(address)
        self._header = b"\xfft" + table.encode() if self._folder else f"{prefix}:t:{table}".encode()
        number = decode_header(self.get(self._header)).id
        self._prefix = number.to_bytes(4, "big") if self._folder else b"%s:r:%d:" % (prefix.encode(), number)

    def get(self, name: bytes) -> bytes:
        value = self._redis.get(name) if self._redis is not None else self._lmdb(lambda txn: txn.get(name))
        assert isinstance(value, bytes)
        return value

    def row(self, *key: Any) -> bytes:
        """The row that counts: two times and values."""
        data = self.get(self._name(key))
        return data if self._redis is None else data[HEAD.size : HEAD.size + HEAD.unpack_from(data)[1]]

    def put(self, row: bytes, *key: Any) -> None:
        name = self._name(key)
        if self._redis is not None:
            self._redis.set(name, HEAD.pack(1, len(row)) + row)
        else:
            self._lmdb(lambda txn: txn.put(name, row))

    def delete(self, *key: Any) -> None:
        name = self._name(key)
        assert self._redis.delete(name) if self._redis is not None else self._lmdb(lambda txn: txn.delete(name))

    def change(self, index: int, value: Any, *key: Any) -> None:
        """Another value in one place of a row."""
        row = self.row(*key)
        values = orjson.loads(b"[%b]" % row[17:])
        values[index] = value
        self.put(row[:17] + orjson.dumps(values)[1:-1], *key)

    def _name(self, key: tuple[Any, ...]) -> bytes:
        return self._prefix + (encode_key(key) or b"")

    def _lmdb(self, function: Callable[[Any], Any]) -> Any:
        assert self._folder is not None
        environment = ENVIRONMENTS.acquire(self._folder, writable=True)
        try:
            return environment.write(function)
        finally:
            ENVIRONMENTS.release(environment)


def by_table(found: list[OnlineComparison]) -> dict[str, tuple[int, int, int, int]]:
    """Rows compared, missing, changed, extra."""
    return {
        comparison["table"].removesuffix("_v1"): (comparison["rows"], comparison["missing"], comparison["changed"], comparison["extra"])
        for comparison in found
    }


SOUND = (COUNT + 1, 0, 0, 0)


def test_every_type_is_equal_as_it_was_published(store: FeatureStore) -> None:
    comparisons = store.verify_online()
    assert by_table(comparisons) == {**dict.fromkeys(ENTITIES, SOUND), "later": (0, 0, 0, 0)}
    assert all(comparison["same"] and not comparison["differences"] for comparison in comparisons)
    assert by_table(store.verify_online("v", sample=3)) == {"v": (3, 0, 0, 0)}
    store.catalog.load_table("raw.s").append(rows(2))
    store.materialize("v")
    assert by_table(store.verify_online("v")) == {"v": SOUND}


def test_a_row_that_is_gone_and_one_too_many_are_named(store: FeatureStore, url: str) -> None:
    for view, keys in ENTITIES.items():
        raw = Raw(url, f"{view}_v1")
        key, other = ([str(KEYS[name][1](at)) if name == "id" else KEYS[name][1](at) for name in keys] for at in (2, 20))
        raw.put(raw.row(*key), *other)
        raw.delete(*key)
        [comparison] = store.verify_online(view)
        assert (by_table([comparison])[view], comparison["same"]) == ((COUNT + 1, 1, 0, 1), False)
        missing, extra = comparison["differences"]
        assert missing == {"key": dict(zip(keys, key, strict=True)), "what": "missing"}
        assert extra["what"] == "extra"
        assert extra["key"].keys() == {"bytes"} if view == "by_long" else extra["key"] == dict(zip(keys, other, strict=True))
    store.publish(list(ENTITIES), full=True)
    assert by_table(store.verify_online(list(ENTITIES))) == dict.fromkeys(ENTITIES, SOUND)


def test_values_that_were_changed_are_told_with_both(store: FeatureStore, url: str) -> None:
    """Of customer 1, whose `double` is 0.0."""
    stored = {"data": "AQA=", "day": "1970-01-08"}
    changed = {
        "flag": True,
        "small": -1,
        "double": -0.0,
        "text": "kaufer 1",
        "data": b"\1\0",
        "day": date(1970, 1, 8),
        "numbers": [0.0],
        "texts": None,
    }
    for name, value in changed.items():
        Raw(url, "v_v1").change([*VALUES].index(name), stored.get(name, value), 1)
    [comparison] = store.verify_online("v")
    assert by_table([comparison]) == {"v": (COUNT + 1, 0, 1, 0)}
    for (name, value), difference in zip(changed.items(), comparison["differences"], strict=True):
        assert (difference["key"], difference["what"], difference["feature"]) == ({"k": 1}, "changed", name)
        assert difference["table"] == VALUES[name][1](1)
        assert difference["online"] == value
    assert [math.copysign(1, comparison["differences"][2][where]) for where in ("online", "table")] == [-1, 1]


def test_another_time_is_a_difference(store: FeatureStore, url: str) -> None:
    raw = Raw(url, "v_v1")
    row = raw.row(1)
    raw.put(row[:7] + bytes([row[7] ^ 1]) + row[8:], 1)
    [report] = store.verify_online("v")
    assert [(comparison["key"], comparison["feature"]) for comparison in report["differences"]] == [({"k": 1}, "feature_timestamp")]


def test_a_table_that_is_not_online_lacks_all_its_rows(store: FeatureStore) -> None:
    store._runtime.online.drop("v_v1")
    [report] = store.verify_online("v")
    assert by_table([report]) == {"v": (COUNT + 1, COUNT + 1, 0, 0)}
    assert [comparison["what"] for comparison in report["differences"]] == ["missing"] * (COUNT + 1)


def test_the_snapshot_that_is_online_is_compared_and_not_a_newer_one(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    online = store._runtime.online
    open_edition = online.edition

    def edition_that_writes_nothing() -> Any:
        edition: Any = open_edition()
        edition._commit = lambda changes, rows_only: {change.table: 0 for change in changes}
        return edition

    monkeypatch.setattr(online, "edition", edition_that_writes_nothing)
    store.catalog.load_table("raw.s").append(rows(2).set_column(0, "k", pa.array([0, 1, 50], pa.int64())))
    store.materialize("v")
    monkeypatch.undo()
    assert by_table(store.verify_online("v")) == {"v": SOUND}
    store.publish("v")
    assert by_table(store.verify_online("v")) == {"v": (COUNT + 2, 0, 0, 0)}


def test_what_is_published_meanwhile_is_compared_anew(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    online, numbers = store._runtime.online, count()
    look = online.cursor

    def once(table: str) -> Cursor | None:
        return Cursor(1, 1) if next(numbers) == 1 else look(table)

    def always(table: str) -> Cursor | None:
        cursor = look(table)
        assert cursor is not None
        return Cursor(cursor.snapshot_id, next(numbers))

    monkeypatch.setattr(online, "cursor", once)
    assert by_table(store.verify_online("v")) == {"v": SOUND}
    assert next(numbers) == 4
    monkeypatch.setattr(online, "cursor", always)
    with pytest.raises(CommitConflict, match="gave up after 4 commit conflicts on v_v1; its online rows were not compared"):
        store.verify_online("v")


def test_bytes_that_are_no_row_are_our_error(store: FeatureStore, url: str) -> None:
    raw = Raw(url, "v_v1")
    raw.put(raw.row(2)[:16] + b",1" * 20, 2)
    [report] = store.verify_online("v")
    assert [(comparison["key"], comparison["online"]) for comparison in report["differences"]] == [({"k": 2}, "20 values")]
    for row in (b"x", raw.row(1)[:20]):
        raw.put(row, 1)
        with pytest.raises(NotReady, match=r"has invalid data|is damaged"):
            store.verify_online("v")
    store.publish("v", full=True)
    assert by_table(store.verify_online("v")) == {"v": SOUND}


def test_a_snapshot_that_the_table_does_not_have_is_told(store: FeatureStore) -> None:
    store._runtime.online.publish("v_v1", pa.table({}), keys=(), cursor=Cursor(7, 7))
    with pytest.raises(Conflict, match="v_v1 at snapshot 7, which the table no longer has; run featurestore publish"):
        store.verify_online("v")
    assert store.publish("v")[0]["rows"] == COUNT + 1
    assert by_table(store.verify_online("v")) == {"v": SOUND}


def test_wrong_requests_are_refused(store: FeatureStore) -> None:
    with pytest.raises(NotFound, match="did you mean 'v'"):
        store.verify_online("vv")
    for sample in (0, -1, True, 1.5):
        with pytest.raises(RequestError, match="sample="):
            store.verify_online("v", sample=sample)  # type: ignore[arg-type]


def test_a_sample_of_all_keys_finds_every_stray_row(store: FeatureStore, url: str) -> None:
    raw = Raw(url, "v_v1")
    for key in range(100, 150):
        raw.put(raw.row(1), key)
    assert by_table(store.verify_online("v", sample=1000)) == {"v": (COUNT + 1, 0, 0, 50)}
    assert store.verify_online("v", sample=20)[0]["extra"] >= 20 - SOUND[0]


@pytest.mark.slow
def test_the_command_ends_with_1_on_a_difference_only(store: FeatureStore, url: str, tmp_path: Path) -> None:
    variables = {"FEATURESTORE_HOME": str(store.settings.home), "FEATURESTORE_ONLINE": url}
    sound = process("verify-online", "v", "--sample", "4", folder=tmp_path, **variables)
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "identical, bit for bit" in sound.stdout
    raw = Raw(url, "v_v1")
    raw.change([*VALUES].index("double"), -0.0, 1)
    raw.delete(3)
    told = process("verify-online", folder=tmp_path, **variables)
    assert (told.returncode, told.stderr) == (1, "")
    assert "k=1  double: online -0.0, in the table 0.0" in told.stdout
    assert "k=3  missing online" in told.stdout
    assert '"changed": 1' in process("verify-online", "--json", folder=tmp_path, **variables).stdout


@pytest.mark.parametrize(
    "key", [(1, "ä", b"\0"), (True, date(1, 1, 1)), (T, uuid.UUID(int=5)), (Decimal("-12.30"), -(2**63)), (Decimal(10) ** 30,)]
)
def test_keys_are_read_back(key: tuple[Any, ...]) -> None:
    encoded = encode_key(key)
    assert encoded is not None
    assert decode_key(encoded) == key


def test_a_key_that_was_too_long_is_not_read_back() -> None:
    assert decode_key(encode_key(("x" * 600,)) or b"") is None
    for data in (b"", b"x", b"\x91\xd6\x09\0\0\0\0", b"\x91\xd6\x01\x7f\0\0\0"):
        assert decode_key(data) is None
