"""Training sets of feature lookups: services made on the fly, with renames, lookbacks, defaults and times of their own."""

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pytest

from featurestore import Entity, FeatureLookup, FeatureStore, FeatureView, Source, agg
from featurestore.errors import DefinitionError, FeatureStoreError, NotFound, RequestError, TypeMismatch
from featurestore.joins import join
from featurestore.online.keys import encode_key
from featurestore.pipelines.online_lookup.lookup_json import Answer, LookupWriter
from featurestore.values import times
from tests import oracle
from tests.pipelines.written.writing import moment
from tests.worlds import load_source

SCHEMA = {"id": "long", "at": "timestamp", "x": "int", "y": "string"}
ROWS = [
    {"id": 1, "at": moment(1), "x": 1, "y": "a"},
    {"id": 1, "at": moment(10), "x": None, "y": "b"},
    {"id": 2, "at": moment(5), "x": 5, "y": "it's"},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """A store with a written table and a declared aggregate view."""
    with FeatureStore(home=tmp_path_factory.mktemp("lookups")) as opened:
        opened.create_table("timed", "id", "at", schema=SCHEMA)
        opened.write_table("timed", ROWS)
        stamp = pa.timestamp("us", "UTC")
        orders = pa.table({"who": [1, 1, 2], "amount": [1.0, 2.0, 4.0], "at": pa.array([moment(2), moment(3), moment(8)], stamp)})
        load_source(opened, "shop.orders", orders)
        source = Source("orders", table="shop.orders", timestamp="at")
        view = FeatureView("spending", Entity("customer", keys="who"), source, {"spend": agg.sum("amount", over="7d")}, every="1d")
        opened.apply([view])
        opened.materialize(end="2026-01-20")
        yield opened


def features(store: FeatureStore, frame: Any, lookups: Any, **more: Any) -> list[dict[str, Any]]:
    training_set = store.create_training_set(frame, lookups, **more)
    assert store.rebuild(training_set.id).digest == training_set.digest
    rows: list[dict[str, Any]] = training_set.to_arrow(training_set.features).to_pylist()
    return rows


def test_lookups_rename_default_and_expire(store: FeatureStore) -> None:
    frame = [
        {"customer": 1, "t": moment(2)},
        {"customer": 1, "t": moment(11)},
        {"customer": 2, "t": moment(20)},
        {"customer": 9, "t": moment(20)},
    ]
    found = features(
        store,
        frame,
        [
            FeatureLookup("timed", "customer", rename={"x": "amount"}, lookback="10d", default={"x": -1, "y": "no'ne"}),
            FeatureLookup("timed", ["customer"], "y", rename={"y": "last_y"}),
            FeatureLookup("spending", {"who": "customer"}),
        ],
        timestamp="t",
    )
    assert [tuple(row.values()) for row in found] == [
        (1, "a", "a", None),
        (-1, "b", "b", None),
        (-1, "no'ne", "it's", None),
        (-1, "no'ne", None, None),
    ]
    assert list(found[0]) == ["amount", "y", "last_y", "spend_7d"]


def test_each_lookup_may_have_a_time_of_its_own(store: FeatureStore) -> None:
    frame = [{"id": 1, "first": moment(2), "second": moment(11)}, {"id": 2, "first": moment(4), "second": moment(6)}]
    lookups = [
        FeatureLookup("timed", "id", ["y"], rename={"y": "y1"}, timestamp_lookup_key="first"),
        FeatureLookup("timed", "id", ["y"], rename={"y": "y2"}, timestamp_lookup_key="second"),
        FeatureLookup("timed", "id", ["y"], rename={"y": "y3"}, timestamp_lookup_key="second", lookback="1d"),
    ]
    assert features(store, frame, lookups) == [{"y1": "a", "y2": "b", "y3": "b"}, {"y1": None, "y2": "it's", "y3": "it's"}]
    with pytest.raises(RequestError, match="some lookups have a timestamp_lookup_key"):
        store.create_training_set(frame, [*lookups, FeatureLookup("timed", "id", ["x"])])


def test_without_times_features_are_current_and_the_frame_keeps_its_columns(store: FeatureStore) -> None:
    labels = pd.DataFrame({"id": [1, 2], "as_of": ["x", "y"], "basket": [1.5, 2.5], "churned": [True, False]})
    lookups = [FeatureLookup("timed", "id")]
    training_set = store.create_training_set(labels, lookups, label="churned", exclude_columns=["id", "as_of"])
    assert list(training_set.load_df()) == ["basket", "churned", "x", "y"]
    assert (training_set.exclude_columns, training_set.label) == (["id", "as_of", "as_of_"], "churned")
    service = store.service(training_set.manifest["service"]["name"])
    assert (service.request, service.keys, service.name) == ({"basket": "DOUBLE"}, ("id",), f"lookup_{service.fingerprint}")
    answer = store.online_features(service.name, [{"id": 1}, {"id": 3}], [{"basket": 1.0}, {"basket": 2.0}])
    assert (answer.features, answer.rows) == (("x", "y"), ((None, "b"), (None, None)))
    again = store.create_training_set(labels, lookups, label="churned", exclude_columns=["id", "as_of"])
    assert again.manifest["service"] == training_set.manifest["service"]
    assert len([listed for listed in store.services() if listed.name == service.name]) == 1


def test_a_reader_larger_than_one_batch_is_joined(store: FeatureStore) -> None:
    batches = [pa.record_batch({"id": pa.array([key], pa.int64())}) for key in (1, 2, 3)]
    found = features(store, pa.RecordBatchReader.from_batches(batches[0].schema, batches), FeatureLookup("timed", "id", "y"))
    assert found == [{"y": "b"}, {"y": "it's"}, {"y": None}]


REFUSED: list[tuple[dict[str, Any], dict[str, Any], type[FeatureStoreError], str]] = [
    ({"table": "time"}, {}, NotFound, "no table or view 'time'; did you mean 'timed'"),
    ({"feature_names": ["z"]}, {}, NotFound, "no feature 'z' in timed"),
    ({"lookup_key": "who"}, {}, RequestError, "the frame has no column 'who'"),
    ({"lookup_key": ["id", "t"]}, {}, RequestError, r"feature_lookups\[0\].lookup_key has 2 columns, and the table the keys id"),
    ({"lookup_key": {"key": "id"}}, {}, RequestError, "must name a column for each key: id"),
    ({"rename": {"z": "a"}}, {}, RequestError, "rename: no feature 'z' among those that are looked up"),
    ({"rename": {"x": "a b"}}, {}, RequestError, "rename: 'a b' is not a name for 'x'"),
    ({"rename": {"x": "y"}}, {}, DefinitionError, "feature 'y' of timed is also a feature of timed"),
    ({"rename": {"x": "t"}}, {}, RequestError, "the spine has a column 't'"),
    ({"lookback": "30"}, {}, RequestError, r"feature_lookups\[0\].lookback: "),
    ({"lookback": "0d"}, {}, RequestError, "must be longer than zero"),
    ({"default": {"x": "q"}}, {}, TypeMismatch, "default: 'x': 'q' is str, but the column is INTEGER"),
    ({"default": {"x": None}}, {}, TypeMismatch, "a default cannot be None"),
    ({"default": 3}, {}, RequestError, "default=3 is not a dict of features"),
    ({"timestamp_lookup_key": "when"}, {}, RequestError, "the frame has no column 'when'"),
    ({}, {"exclude_columns": ["z"]}, RequestError, "exclude_columns: no column 'z'"),
    ({}, {"label": "z"}, RequestError, "the spine has no label column 'z'"),
    ({}, {"timestamp": "z"}, RequestError, "no column 'z'"),
]


def test_bad_lookups_are_refused_by_argument(store: FeatureStore) -> None:
    before = len(store.services())
    frame = [{"id": 1, "t": moment(2), "shape": [1.0]}]
    for change, more, error, message in REFUSED:
        lookup = FeatureLookup(**{"table": "timed", "lookup_key": "id", **change})
        with pytest.raises(error, match=message):
            store.create_training_set(frame, [lookup], **{"timestamp": "t", "exclude_columns": "shape", **more})
    with pytest.raises(RequestError, match="spending is an aggregate view"):
        store.create_training_set(frame, [FeatureLookup("spending", "id", lookback="1d")], timestamp="t")
    with pytest.raises(TypeMismatch, match="the frame's column 'shape' is list"):
        store.create_training_set(frame, [FeatureLookup("timed", "id")], timestamp="t")
    with pytest.raises(RequestError, match=r"feature_lookups\[0\] is 'timed'"):
        store.create_training_set(frame, ["timed"], timestamp="t")  # type: ignore[list-item]
    with pytest.raises(RequestError, match=r"feature_lookups=\[\] must be a list"):
        store.create_training_set(frame, [], timestamp="t")
    # A service is registered before the rows are read.
    assert len(store.services()) <= before + 3


@pytest.mark.parametrize("room", [None, 0], ids=["gathered", "in the engine"])
def test_random_lookups_equal_brute_force(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, room: int | None) -> None:
    if room is not None:
        monkeypatch.setattr(join, "MEMORY_DIVISOR", 10**15)
    chosen = random.Random(room is None)
    rows: list[dict[str, Any]] = [
        {"id": key, "ft": times.micros(moment(day)), "ct": 0, "x": chosen.choice([None, 1, 2]), "y": chosen.choice([None, "a"])}
        for key in (1, 2)
        for day in chosen.sample(range(1, 28), 5)
    ]
    name = f"random_{room is None}".lower()
    store.create_table(name, "id", "at", schema=SCHEMA)
    store.write_table(name, [{"id": row["id"], "at": times.moment(row["ft"]), "x": row["x"], "y": row["y"]} for row in rows])
    frame: list[dict[str, Any]] = [
        {"id": chosen.choice([1, 2, 3]), "a": moment(chosen.randint(1, 30)), "b": moment(chosen.randint(1, 30))} for _ in range(60)
    ]
    lookups, expected = [], []
    for number in range(4):
        limit, at, default = chosen.choice([None, 3, 9]), chosen.choice(["a", "b"]), chosen.choice([None, 7])
        lookback, defaults = None if limit is None else f"{limit}d", None if default is None else {"x": default}
        lookups.append(FeatureLookup(name, "id", ["x"], {"x": f"x{number}"}, at, lookback, defaults))
        ttl = None if limit is None else limit * 86_400_000_000
        found = [
            oracle.as_of(rows, (row["id"],), ["id"], times.micros(row[at]), ttl=ttl, known="now", features=["x", "y"]) for row in frame
        ]
        expected.append([default if row is None or row["x"] is None else row["x"] for row in found])
    looked_up = features(store, frame, lookups)
    assert [[row[f"x{number}"] for row in looked_up] for number in range(4)] == expected


def test_the_same_default_online_as_offline(store: FeatureStore) -> None:
    types = {
        "b": ("boolean", True),
        "n": ("decimal(10,2)", "1.50"),
        "d": ("date", "2026-01-02"),
        "w": ("timestamp", "2026-01-02T03:04:05Z"),
        "f": ("double", float("inf")),
        "l": ("long", 2**53 + 1),
        "s": ("string", "%'\""),
    }
    store.create_table("typed", "id", schema={"id": "long", **{name: type_name for name, (type_name, _) in types.items()}})
    store.write_table("typed", [{"id": 1}, {"id": 2, "b": False, "n": "2.25", "s": "x"}])
    lookup = FeatureLookup("typed", "id", default={name: value for name, (_, value) in types.items()})
    training_set = store.create_training_set([{"id": key} for key in (1, 2, 3)], lookup)
    offline = [tuple(row.values()) for row in training_set.to_arrow(training_set.features).to_pylist()]
    plan = training_set.plan
    answer = store.online_features(plan, [{"id": key} for key in (1, 2, 3)])
    assert list(answer.rows) == offline
    assert offline[0] == offline[2]
    assert None not in offline[0]
    keys = [encode_key((key,)) for key in (1, 2, 3)]
    writer = LookupWriter(plan)
    found = writer.find([(plan.uses[0].table, keys)])
    direct = writer.write(found, store._runtime.online.read_encoded(found.missing), {}, times.now(), True)
    assert isinstance(direct, Answer)
    assert orjson.loads(direct.content) == orjson.loads(answer.to_json())


def test_a_service_of_lookups_holds_its_versions(store: FeatureStore) -> None:
    store.create_table("kept", "id", schema={"id": "long", "x": "int"})
    store.write_table("kept", [{"id": 1, "x": 1}])
    lookup = FeatureLookup("kept", "id")
    first = store.create_training_set([{"id": 1}], lookup)
    store.create_table("kept", "id", schema={"id": "long", "z": "int"})
    second = store.create_training_set([{"id": 1}], lookup)
    assert (first.features, second.features) == (["x"], ["x", "z"])
    with pytest.raises(FeatureStoreError, match="view kept cannot be removed: read by the services lookup_"):
        store.remove_view("kept")
    assert store.rebuild(first.id).features == ["x"]


def test_the_manifest_says_where_the_frame_was_read(store: FeatureStore) -> None:
    lookup = FeatureLookup("timed", "who", ["x"])
    of_table = store.create_training_set("iceberg:shop.orders", lookup, timestamp="at").manifest["spine"]
    assert of_table["table"] == "shop.orders"
    assert of_table["snapshot_id"].isdigit()
    query = "SELECT who, amount FROM shop.orders"
    of_query = store.create_training_set(query, lookup).manifest["spine"]
    assert (of_query["sql"], list(of_query["tables"])) == (query, ["shop.orders"])
