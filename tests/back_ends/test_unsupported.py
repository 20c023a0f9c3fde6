"""Catalogs that cannot do everything: what they refuse is named with what is lost, and everything else works."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.errors import NotReady, Unsupported
from featurestore.lakehouse import tables
from tests.faults import life
from tests.faults.wires import Rest, wire

pytestmark = pytest.mark.slow


@contextmanager
def lacking(folder: Path, *unsupported: str) -> Iterator[tuple[FeatureStore, Rest]]:
    with wire("rest", folder) as reached, FeatureStore(settings=reached.settings(folder / "home")) as store:
        assert isinstance(reached, Rest)
        life.begin(store)
        reached.server.unsupported = set(unsupported)
        yield store, reached


def maintenance_note(store: FeatureStore) -> str:
    (note,) = [table.note for table in store.maintain(older_than=timedelta(0)) if table.table == "features.last_v1"]
    assert note is not None
    return note


def test_without_tags_all_but_training_sets_and_expiry_works(tmp_path: Path) -> None:
    with lacking(tmp_path, "tag") as (store, _):
        store.apply(life.declare())
        for day in ("2026-01-03", "2026-01-05"):
            store.materialize(end=day)
        with pytest.raises(Unsupported, match=r"refused the updates .*set-snapshot-ref.*; use a catalog that has tags: without"):
            store.training_set("service", life.spine(), "t")
        assert store.training_sets() == []
        assert store.online_features("service", [{"k": 1}]).rows
        note = maintenance_note(store)
        assert note.startswith("no snapshot expired: committing to features.last_v1; nothing was written: the catalog refused the updates")
        assert len(tables.load(store.catalog, "features.last_v1").snapshot_ids) == 2


def test_without_expiry_files_are_still_cleaned_up(tmp_path: Path) -> None:
    with lacking(tmp_path, "remove-snapshots") as (store, _):
        store.apply(life.declare())
        for day in ("2026-01-03", "2026-01-05"):
            store.materialize(end=day)
        digest = store.training_set("service", life.spine(), "t", name="x").digest
        note = maintenance_note(store)
        assert "refused the updates" in note
        assert "use a catalog that can remove snapshots, or let its own maintenance remove old ones" in note
        assert store.rebuild(store.training_sets()[0].id).digest == digest


def test_namespaces_may_be_made_by_hand_and_drops_again(tmp_path: Path) -> None:
    with lacking(tmp_path, "namespace", "drop") as (store, reached):
        with pytest.raises(NotReady, match=r"create namespace \w+: .*; or create it in the catalog yourself"):
            store.apply(life.declare())
        for namespace in ("registry", "features"):
            reached.server.backing.create_namespace(namespace)
        store.apply(life.declare())
        store.materialize(end="2026-01-05")
        store.remove_service("service")
        with pytest.raises(NotReady, match=r"drop table features\.last_v1: the catalog refused"):
            store.remove_view("last")
        reached.server.unsupported.clear()
        assert store.remove_view("last").files > 0
