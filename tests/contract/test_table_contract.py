"""Written tables and feature lookups: the same from a store and from the client of a server."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from featurestore import FeatureLookup, FeatureStore, Store, connect
from featurestore.errors import Conflict, NotFound, RequestError, TypeMismatch
from tests import forged, shop
from tests.contract.test_store_contract import KINDS, open_store

SCHEMA = {"id": "long", "at": "timestamp", "amount": "decimal(10,2)", "tags": "string[]"}
FRAME = pd.DataFrame({"id": [1, 2], "at": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True), "amount": [Decimal("1.50"), None]})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path_factory.mktemp("tables")) as store:
        yield store


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, home: FeatureStore) -> Iterator[Store]:
    with open_store(request.param, home) as verbs:
        yield verbs


def test_a_table_is_created_written_and_looked_up(store: Store, request: pytest.FixtureRequest) -> None:
    name = f"t_{type(store).__name__}".lower()
    table = store.create_table(name, "id", "at", schema=SCHEMA, description="Amounts", tags={"team": "a"})
    assert (table.kind, table.keys, table.tags, table.features) == (
        "written",
        ("id",),
        {"team": "a"},
        {"amount": "DECIMAL(10,2)", "tags": "VARCHAR[]"},
    )
    done = store.write_table(name, FRAME, run_id="first")
    assert (done.table, done.mode, done.rows, done.rows_appended, done.published, done.run_id) == (name, "merge", 2, 2, 2, "first")
    assert store.write_table(name, FRAME, run_id="second").rows_appended == 0
    corrected = store.write_table(name, [{"id": 1, "at": "2026-01-01", "tags": ["x", None]}])
    assert (corrected.corrections, corrected.snapshot_id) == (1, store.view(name).snapshot_id)
    events = store.history(name)
    assert [(event.operation, event.rows) for event in events] == [("merge", 1), ("merge", 2), ("create", 0)]
    assert events[1].run_id == "first"
    frame = pa.table({"key": [1, 2, 3], "basket": [1.0, 2.0, 3.0], "y": [True, False, True]})
    lookups = [FeatureLookup(name, "key", ["amount", "tags"], {"amount": "spent"}, lookback="9999d", default={"amount": "0.25"})]
    training_set = store.create_training_set(frame, lookups, label="y", exclude_columns="key", name=f"set_{name}")
    assert training_set.to_arrow(["spent", "tags"]).to_pylist() == [
        {"spent": Decimal("1.50"), "tags": ["x", None]},
        {"spent": Decimal("0.25"), "tags": None},
        {"spent": Decimal("0.25"), "tags": None},
    ]
    assert list(training_set.load_df()) == ["basket", "y", "spent", "tags"]
    answer = store.online_features(training_set.manifest["service"]["name"], [{"key": 1}, {"key": 3}], [{"basket": 1.0}, {"basket": 2.0}])
    assert answer.rows == ((Decimal("1.50"), ["x", None]), (Decimal("0.25"), None))


def test_what_is_wrong_is_named(store: Store) -> None:
    name = f"wrong_{type(store).__name__}".lower()
    store.create_table(name, ["id"], schema={"id": "long", "x": "int"})
    with pytest.raises(TypeMismatch, match="row 0 of the frame, column 'x': 'a' is str, but the column is INTEGER"):
        store.write_table(name, [{"id": 1, "x": "a"}])
    with pytest.raises(RequestError, match="row 1 of the frame has NULL in the key column 'id'"):
        store.write_table(name, pa.table({"id": [1, None]}))
    with pytest.raises(RequestError, match="mode='replace' must be one of"):
        store.write_table(name, [], mode="replace")  # type: ignore[arg-type]
    with pytest.raises(Conflict, match=f"column 'x' of table {name} is INTEGER, not VARCHAR"):
        store.create_table(name, "id", schema={"id": "long", "x": "string"})
    with pytest.raises(NotFound, match="no table 'nowhere'"):
        store.write_table("nowhere", [{"id": 1}])
    with pytest.raises(NotFound, match="no table 'nowhere'"):
        store.history("nowhere")
    with pytest.raises(NotFound, match="no feature 'z'"):
        store.create_training_set([{"id": 1}], FeatureLookup(name, "id", ["z"]))
    with pytest.raises(RequestError, match="feature_lookups="):
        store.create_training_set([{"id": 1}], [])


@pytest.mark.slow
def test_json_and_files_over_http(home: FeatureStore) -> None:
    home.create_table("raw", "id", schema={"id": "long", "x": "double", "n": "decimal(38,20)", "at": "timestamp"})
    with shop.serving(home, jobs=True) as url, httpx.Client(base_url=url, timeout=60) as client:

        def write(rows: str) -> httpx.Response:
            body = f'{{"table": "raw", "rows": {rows}}}'
            return client.post("/v1/table-writes", content=body, headers={"Content-Type": "application/json"})

        answer = write('[{"id": 1, "x": NaN, "n": 0.12345678901234567891, "at": "2026-01-02T00:00:00+02:00"}]')
        assert (answer.status_code, answer.json()["rows_appended"]) == (200, 1)
        stored_row = home.catalog.load_table("features.raw_v1").scan().to_arrow().to_pylist()[0]
        assert (str(stored_row["x"]), stored_row["at"]) == ("nan", datetime(2026, 1, 1, 22, tzinfo=UTC))
        assert stored_row["n"] == Decimal("0.12345678901234567891")
        assert write('[{"id": 9007199254740993.5}]').status_code == 422
        assert write('[{"id": 1, "id": 2}]').status_code == 422
        assert write('[{"id": "a"}]').json()["error"]["message"].startswith("row 0 of the frame, column 'id'")
        assert client.post("/v1/table-writes", json={"table": "raw", "rows": [], "path": "/etc/passwd"}).status_code == 422
        file = forged.forged_offsets(pa.table({"id": [1]}))
        bad = client.post("/v1/table-writes", data={"table": "raw"}, files={"rows": ("rows.arrow", file)})
        assert (bad.status_code, bad.json()["error"]["type"]) == (400, "RequestError")
        none = client.post("/v1/table-writes", files={"table": (None, "raw"), "mode": (None, "append")})
        assert none.json()["error"]["message"].startswith("the form has no file; send the rows as a Parquet or Arrow IPC file")
        lookups = [{"table": "raw", "lookup_key": "who", "feature_names": ["x"], "default": {"x": 2.5}}]
        body = {"feature_lookups": lookups, "spine": {"rows": [{"who": 7, "basket": 0.1}]}, "exclude_columns": ["who"]}
        job = client.post("/v1/lookup-training-sets", json=body).json()
        done = client.get(f"{job['url']}?wait=30").json()
        assert (done["state"], done["manifest"]["exclude_columns"]) == ("done", ["who", "as_of"])
        assert client.get("/v1/tables/raw/history").json()[-1]["operation"] == "create"
    with connect(url) as closed, pytest.raises(RequestError, match="the frame is text"):
        closed.write_table("raw", "rows.parquet")
