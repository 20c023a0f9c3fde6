"""Lost tables: live tables that were published and are missing online, found with few reads of the catalog."""

import json

import pytest

from featurestore.errors import NotReady
from featurestore.lakehouse import tables
from featurestore.pipelines.materialization.filling import fill_lost
from featurestore.records.lost_tables import LostTables
from featurestore.records.online_tables import STORES, OnlineTables
from featurestore.records.runtime import Runtime


def test_lost_tables_are_named_with_what_to_do(versioned: Runtime) -> None:
    online = OnlineTables(versioned)
    finder = LostTables(versioned, online)
    assert (finder.find(), finder.versions(), finder.progress()) == ({}, [], None)
    finder.raise_lost()
    versioned.online.drop("v_v1")
    assert finder.find() == online.lost == {"v_v1": "it is missing"}
    assert [applied.table for applied in finder.versions()] == ["v_v1"]
    with pytest.raises(NotReady, match=r"lost tables \(v_v1: it is missing\).*run featurestore publish") as raised:
        finder.raise_lost()
    assert raised.value.details["state"] == "incomplete"
    with versioned.online.claim_filling() as show:
        assert show is not None
        show(b'{"view": "v", "rows": 1}')
        with pytest.raises(NotReady) as raised:
            finder.raise_lost()
    assert (raised.value.details["state"], raised.value.details["filling"]) == ("being filled", {"view": "v", "rows": 1})


def test_a_table_is_found_again_that_is_lost_after_a_lookup_was_first_to_see_it_filled(versioned: Runtime) -> None:
    online = OnlineTables(versioned)
    finder = LostTables(versioned, online)
    for _ in range(2):
        versioned.online.drop("v_v1")
        assert finder.find() == {"v_v1": "it is missing"}
        assert fill_lost(versioned, LostTables(versioned, OnlineTables(versioned))) == ["v_v1"], "as another process does"
        online.verify(["v_v1"])
        assert online.lost == finder.find() == {}


def test_the_catalog_is_not_read_again_while_nothing_seems_wrong(versioned: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = LostTables(versioned, OnlineTables(versioned))
    assert finder.find() == {}
    tables.set_properties(tables.load(versioned.catalog, versioned.features_table("w_v1")), {STORES: json.dumps(["elsewhere"])})
    assert finder.find() == {}, "this takes a look at the catalog, which is due in a minute"
    monkeypatch.setattr("featurestore.records.lost_tables.CATALOG_SECONDS", -1.0)
    assert finder.find() == {"w_v1": "it is missing"}
