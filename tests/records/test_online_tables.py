"""Online tables: an absent one is lost if it was published before, and empty if it was never materialized."""

import json

import pyarrow as pa
import pytest

from featurestore.errors import NotReady
from featurestore.lakehouse import tables
from featurestore.lakehouse.table import Table
from featurestore.online.store import Cursor
from featurestore.records import online_tables
from featurestore.records.online_tables import STORES, OnlineTables
from featurestore.records.runtime import Runtime
from tests import worlds
from tests.records.conftest import mark_materialized

STAMPS = ("feature_timestamp", "created_timestamp")


def load(runtime: Runtime, name: str) -> Table:
    return tables.load(runtime.catalog, runtime.features_table(name))


def stores(runtime: Runtime, name: str) -> list[str]:
    return list(json.loads(load(runtime, name).properties[STORES]))


def test_the_cursor_of_a_published_table_is_that_of_the_table(versioned: Runtime) -> None:
    table = load(versioned, "v_v1")
    assert versioned.online.cursor("v_v1") == online_tables.cursor_of(table)
    assert not online_tables.is_foreign(online_tables.cursor_of(table), table)
    assert online_tables.is_foreign(Cursor(1, 1, "another"), table)
    assert not online_tables.is_foreign(Cursor(1, 1, None), table), "early releases did not record the table"


def test_a_table_lists_the_last_twenty_stores_that_it_was_published_to(versioned: Runtime) -> None:
    identity = versioned.online.identity()
    assert stores(versioned, "v_v1") == [identity]
    table = load(versioned, "w_v1")
    tables.set_properties(table, {STORES: json.dumps([f"store{number}" for number in range(20)])})
    online_tables.note_published(versioned, table)
    assert stores(versioned, "w_v1") == [*[f"store{number}" for number in range(1, 20)], identity]
    metadata = load(versioned, "w_v1").metadata_location
    online_tables.note_published(versioned, load(versioned, "w_v1"))
    assert load(versioned, "w_v1").metadata_location == metadata, "a store that is listed causes no commit"


def test_an_absent_table_is_empty_only_if_it_was_never_materialized(versioned: Runtime) -> None:
    checked = OnlineTables(versioned)
    checked.check_absent(["w_v1", "v_v2"])
    mark_materialized(versioned, "w_v1")
    checked.check_absent(["w_v1"])  # Cached until the online store changes.
    versioned.online.touch()
    with pytest.raises(NotReady, match="no rows of w_v1, which is materialized"):
        checked.check_absent(["w_v1"])


def test_a_lost_table_is_refused_until_it_is_published_again(versioned: Runtime) -> None:
    checked = OnlineTables(versioned)
    checked.verify(["v_v1", "w_v1"])
    assert checked.lost == {}
    checked.lost = {"v_v1": "its rows are gone", "w_v1": "it is missing"}
    with pytest.raises(NotReady, match="v_v1 in the online store is not what was published: its rows are gone"):
        checked.refuse_lost(["v_v1"])
    checked.verify(["v_v1"])
    assert checked.lost == {"w_v1": "it is missing"}, "tables that were not verified stay as they were"


def test_tables_that_are_missing_or_of_another_catalog_are_lost(versioned: Runtime) -> None:
    checked = OnlineTables(versioned)
    assert checked.find_lost(["v_v1", "v_v2", "w_v1"]) == {}
    tables.create(versioned.catalog, versioned.features_table("other_v1"), pa.schema([("k", pa.int64())]))
    rows = pa.table({"k": pa.array([1], pa.int64()), **dict.fromkeys(STAMPS, pa.array([0], worlds.STAMP))})
    versioned.online.publish("other_v1", rows, keys=["k"], cursor=Cursor(None, None, "another"))
    versioned.online.drop("v_v1")
    assert checked.find_lost(["v_v1", "other_v1", "w_v1"]) == {
        "v_v1": "it is missing",
        "other_v1": "its rows are of another table of this name",
    }
