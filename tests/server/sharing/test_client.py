"""The server as the `delta-sharing` client sees it."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from requests import HTTPError

from featurestore.lakehouse import tables
from tests import shop
from tests.server.sharing.conftest import CANARY, TYPES, Shared, profile_of, wait_until

# It warns about its own use of pandas.
delta_sharing: Any = pytest.importorskip("delta_sharing")
pytestmark = pytest.mark.filterwarnings("ignore")


def load(shared: Shared, table: str, **options: Any) -> pd.DataFrame:
    """A table as pandas."""
    frame: pd.DataFrame = delta_sharing.load_as_pandas(shared.address(table), **options)
    return frame


def refused(call: Callable[[], object]) -> tuple[int, str]:
    """The status of an error, and what the client says."""
    with pytest.raises(HTTPError) as caught:
        call()
    assert caught.value.response is not None
    return caught.value.response.status_code, " ".join(str(caught.value).replace("'", " ").split())


def test_it_lists_what_is_shared(shared: Shared) -> None:
    client = delta_sharing.SharingClient(str(shared.profile))
    (share,) = client.list_shares()
    assert share.name == "partners"
    assert [schema.name for schema in client.list_schemas(share)] == ["features", "lake"]
    listed = [f"{table.schema}.{table.name}" for table in client.list_all_tables()]
    assert listed == [
        *("features.customer_orders", "features.customer_profile"),
        *(f"lake.{name}" for name in ("deleted", "empty", "growing", "people", "renamed", "types", "versions")),
    ]
    assert [table.name for table in client.list_tables(client.list_schemas(share)[0])] == ["customer_orders", "customer_profile"]


def test_a_view_is_its_feature_table(shared: Shared) -> None:
    frame = load(shared, "features.customer_orders")
    stored = shared.served.store.catalog.load_table("features.customer_orders_v1").scan().to_arrow().to_pandas()
    assert list(frame.columns) == list(stored.columns)
    pd.testing.assert_frame_equal(frame, stored, check_dtype=False)


def test_every_type_comes_as_it_is(shared: Shared) -> None:
    frame = load(shared, "lake.types")
    assert list(frame.columns) == TYPES.column_names
    assert (frame["big"][0], frame["amount"][0], frame["id"][0]) == (2**63 - 1, TYPES["amount"][0].as_py(), str(TYPES["id"][0].as_py()))
    (file,) = shared.files("lake.types")
    found = pq.read_table(io.BytesIO(shared.http.get(file["url"]).content)).to_pylist()
    for row, original in zip(found, TYPES.to_pylist(), strict=True):
        original = {**original, "id": original["id"] and str(original["id"]), "clock": original["clock"] and str(original["clock"])}
        original["local"] = original["local"] and original["instant"]
        original["struct"] = original["struct"] and {**original["struct"], "at": original["instant"]}
        for name, value in original.items():
            assert row[name] == value or (row[name] is None and value is None), name
    schema = json.loads(delta_sharing.get_table_metadata(shared.address("lake.types")).schema_string)
    types = {field["name"]: field["type"] for field in schema["fields"]}
    assert (types["amount"], types["local"], types["id"], types["fixed"]) == ("decimal(38,5)", "timestamp", "string", "binary")
    assert types["list"] == {"type": "array", "elementType": "long", "containsNull": True}


def test_an_empty_table_has_its_columns(shared: Shared) -> None:
    frame = load(shared, "lake.empty")
    assert (len(frame), list(frame.columns)) == (0, TYPES.column_names)
    assert delta_sharing.get_table_version(shared.address("lake.empty")) == 0


def test_renamed_columns_have_their_rows_and_dropped_ones_are_gone(shared: Shared) -> None:
    frame = load(shared, "lake.renamed")
    assert list(frame.columns) == ["new", "added"]
    assert sorted(zip(frame["new"], frame["added"].fillna(""), strict=True)) == [("a", ""), ("b", "c")]
    before = load(shared, "lake.versions", version=1)
    assert before.to_dict("list") == {"n": [1]}


def test_deleted_rows_are_in_no_file(shared: Shared) -> None:
    assert load(shared, "lake.deleted").to_dict("list") == {"n": [1, 3], "text": ["a", "c"]}
    for file in shared.files("lake.deleted") + shared.files("lake.renamed"):
        assert CANARY.encode() not in shared.http.get(file["url"]).content


def test_versions_times_limits_and_hints(shared: Shared) -> None:
    name = "lake.versions"
    assert delta_sharing.get_table_version(shared.address(name)) == 3
    for version in (1, 2, 3):
        assert sorted(load(shared, name, version=version)["n"]) == list(range(1, version + 1))
    table = tables.load(shared.served.store.catalog, name)
    times = [pd.Timestamp(tables.committed_us(table, id), unit="us", tz="UTC") for id in table.snapshot_ids]
    for number, at in enumerate(times, start=1):
        assert len(load(shared, name, timestamp=at.isoformat())) == number
        assert delta_sharing.get_table_version(shared.address(name), starting_timestamp=at.isoformat()) == number
    assert refused(lambda: load(shared, name, timestamp="2000-01-01T00:00:00Z"))[0] == 404
    status, said = refused(lambda: load(shared, name, version=9))
    assert status == 404
    assert all(f" {version} " in said.partition("known:")[2] for version in (1, 2, 3)), said
    for limit in range(5):
        assert len(load(shared, name, limit=limit)) == min(limit, 3)
    assert len(shared.files(name, limitHint=2)) == 2, "no more files than it takes"
    column, two = {"op": "column", "name": "n", "valueType": "long"}, {"op": "literal", "value": "2", "valueType": "long"}
    hint = json.dumps({"op": "equal", "children": [column, two]})
    assert sorted(load(shared, name, jsonPredicateHints=hint)["n"]) == [1, 2, 3], "the client filters"
    assert len(load(shared, name, convert_in_batches=True)) == 3


def test_what_is_not_shared_is_a_clear_refusal(shared: Shared) -> None:
    status, said = refused(lambda: load(shared, "lake.versions", use_delta_format=True))
    assert (status, "use_delta_format=True" in said) == (400, True)
    status, said = refused(lambda: delta_sharing.load_table_changes_as_pandas(shared.address("lake.versions"), starting_version=1))
    assert (status, "change data feed" in said) == (400, True)
    assert refused(lambda: load(shared, "lake.hidden"))[0] == 404
    assert refused(lambda: delta_sharing.load_as_pandas(f"{shared.profile}#inside.lake.hidden"))[0] == 404


def test_a_lost_table_and_an_expired_snapshot_are_errors(shared: Shared) -> None:
    store = shared.served.store
    shop.add(store, "lake.lost", pa.table({"n": [1]}))
    store.create_share("lost")
    store.add_to_share("lost", "TABLE lake.lost")
    store.change_recipient("acme", shares=["partners", "lost"])
    address = f"{shared.profile}#lost.lake.lost"
    wait_until(lambda: shared.http.get("/shares/lost").is_success)
    assert len(delta_sharing.load_as_pandas(address)) == 1
    table = store.catalog.load_table("lake.lost")
    table.append(pa.table({"n": [2]}))
    table.maintenance.expire_snapshots().by_id(table.snapshots()[0].snapshot_id).commit()
    assert refused(lambda: delta_sharing.load_as_pandas(address, version=1))[0] == 404
    assert len(delta_sharing.load_as_pandas(address)) == 2
    for file in Path(table.location().removeprefix("file://")).glob("data/*.parquet"):
        file.unlink()
    table.append(pa.table({"n": [3]}))
    Path(next(iter(table.scan().plan_files())).file.file_path.removeprefix("file://")).unlink()
    assert refused(lambda: delta_sharing.load_as_pandas(address))[0] == 404
    store.catalog.drop_table("lake.lost")
    assert refused(lambda: delta_sharing.load_as_pandas(address))[0] == 404
    store.change_recipient("acme", shares=["partners"])


@pytest.mark.slow
def test_revoked_and_expired_recipients_are_refused(shared: Shared, tmp_path: Path) -> None:
    store = shared.served.store
    made = store.create_recipient("brief", "partners", expires="2s")
    profile = profile_of(shared.served, made.profile, tmp_path / "brief.share")
    client = delta_sharing.SharingClient(str(profile))
    wait_until(lambda: _can(client.list_shares))
    wait_until(lambda: not _can(client.list_shares))
    status, said = refused(client.list_shares)
    assert (status, "expired" in said) == (401, True)
    rotated = store.rotate_recipient("brief")
    client = delta_sharing.SharingClient(str(profile_of(shared.served, rotated.profile, tmp_path / "rotated.share")))
    wait_until(lambda: _can(client.list_shares))
    store.revoke_recipient("brief")
    wait_until(lambda: not _can(client.list_shares))
    assert refused(client.list_shares)[0] == 401


def _can(call: Callable[[], object]) -> bool:
    try:
        call()
    except HTTPError:
        return False
    return True
