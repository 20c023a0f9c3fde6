"""Training sets that no model needs are removed with their rows, and what they pinned is released."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from featurestore import FeatureStore
from featurestore.errors import Conflict, NotFound
from featurestore.pipelines.maintenance import maintain
from tests.pipelines.orders import churn, rows
from tests.worlds import Template, load_source

CANARY = "canary-7f3a"


class Killed(BaseException):
    """The process is gone."""


def spine(note: str = "other") -> list[dict[str, Any]]:
    return [{"customer_id": key, "t": "2026-01-01", "note": f"{note}-{key}"} for key in range(3)]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    def fill(store: FeatureStore) -> None:
        load_source(store, "shop.orders", rows(3))
        store.apply([churn])
        store.materialize()
        store.training_set("churn", spine(), "t")

    return Template(tmp_path_factory.mktemp("removal"), fill)


@pytest.fixture
def store(template: Template) -> Iterator[FeatureStore]:
    with template.opened() as store:
        yield store


def build(store: FeatureStore, name: str = "churn") -> str:
    return store.training_set("churn", spine(CANARY), "t", label="note", name=name).id


def files_with(store: FeatureStore, text: str) -> list[Path]:
    warehouse = Path(store.settings.home, "warehouse", "training_sets")
    return [path for path in warehouse.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def pins(store: FeatureStore, id: str) -> list[str]:
    tables = ("features.counts_v1", "features.profile_v1")
    return [table for table in tables if f"training-set-{id}" in store.catalog.load_table(table).refs()]


def statistics_of(store: FeatureStore, id: str) -> int:
    table = store.catalog.load_table("registry.statistics").scan().to_arrow()
    return int(table.column("training_set").to_pylist().count(id))


@pytest.mark.parametrize("name", ["churn", "alone"])
def test_a_training_set_is_removed_with_its_rows(store: FeatureStore, name: str) -> None:
    (kept,) = store.training_sets()
    id = build(store, name)
    assert files_with(store, CANARY)
    assert statistics_of(store, id)
    planned = store.remove_training_set(id, dry_run=True)
    assert (planned.rows, planned.tables) == (3, ("features.counts_v1", "features.profile_v1"))
    assert store.get_training_set(id).to_arrow().num_rows == 3
    removed = store.remove_training_set(id)
    assert removed == planned
    assert files_with(store, CANARY) == []
    assert (pins(store, id), statistics_of(store, id)) == ([], 0)
    assert [listed.id for listed in store.training_sets()] == [kept.id]
    for call in (store.get_training_set, store.remove_training_set, store.rebuild):
        with pytest.raises(NotFound, match=f"no training set '{id}'"):
            call(id)
    # The others are as they were, and the same request builds it again.
    assert store.rebuild(kept.id).digest == kept.digest
    assert pins(store, kept.id) == ["features.counts_v1", "features.profile_v1"]
    store.maintain(older_than=timedelta(0))
    assert store.rebuild(kept.id).digest == kept.digest
    assert build(store, name) == id
    assert store.rebuild(id).to_arrow().num_rows == 3


def test_an_older_one_is_removed(store: FeatureStore) -> None:
    id = build(store)
    newer = store.training_set("churn", spine("newer"), "t").id
    store.remove_training_set(id)
    assert files_with(store, CANARY) == []
    assert store.rebuild(newer).to_arrow(["note"]).column(0).to_pylist() == ["newer-0", "newer-1", "newer-2"]


def test_one_that_a_tag_pins_is_kept(store: FeatureStore) -> None:
    id = build(store)
    store.tag("release", ["training_sets.churn"])
    with pytest.raises(Conflict, match=rf"training set {id} cannot be removed: tags pin it, .*: release. Nothing was removed"):
        store.remove_training_set(id)
    assert (pins(store, id), statistics_of(store, id) > 0) == (["features.counts_v1", "features.profile_v1"], True)
    store.remove_tag("release")
    store.remove_training_set(id)


def test_unknown_ids(store: FeatureStore) -> None:
    (kept,) = store.training_sets()
    for id in ("none", "none-0", "churn-0", f"{kept.id[:-1]}"):
        with pytest.raises(NotFound, match="no training set"):
            store.remove_training_set(id)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_removal_that_was_cut_off_is_finished(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int, after: bool) -> None:
    id = build(store)
    count = 0
    commit = SqlCatalog.commit_table

    def killed(catalog: SqlCatalog, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == number and not after:
            raise Killed
        response = commit(catalog, *arguments)
        if count == number:
            raise Killed
        return response

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", killed)
        with pytest.raises(Killed):
            store.remove_training_set(id)
    gone = id not in [listed.id for listed in store.training_sets()]
    # Notes on two feature tables, the tag, two tags that it pinned, the statistics, the snapshot.
    assert gone == ((number, after) >= (3, True))
    with FeatureStore(home=store.settings.home) as again:
        if not gone:
            assert again.rebuild(id).id == id
        if (number, after) == (7, True):
            # Only the files are left, which are orphans now.
            with pytest.raises(NotFound):
                again.remove_training_set(id)
            monkeypatch.setattr(maintain, "GRACE", timedelta(0))
            again.maintain(older_than=timedelta(0))
        else:
            assert again.remove_training_set(id).rows == 3
        assert (files_with(again, CANARY), pins(again, id), statistics_of(again, id)) == ([], [], 0)
        assert len(again.training_sets()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 8))
def test_maintenance_settles_a_removal_that_was_cut_off(store: FeatureStore, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    id = build(store)
    count = 0
    commit = SqlCatalog.commit_table

    def killed(catalog: SqlCatalog, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        response = commit(catalog, *arguments)
        if count == number:
            raise Killed
        return response

    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "commit_table", killed)
        with pytest.raises(Killed):
            store.remove_training_set(id)
    monkeypatch.setattr(maintain, "GRACE", timedelta(0))
    store.maintain(older_than=timedelta(0))
    if id in [listed.id for listed in store.training_sets()]:
        # It was not removed yet: what it pins is kept as before.
        assert pins(store, id) == ["features.counts_v1", "features.profile_v1"]
        assert not [note for note in store.catalog.load_table("features.counts_v1").properties.values() if json.dumps(id) in note]
        assert store.rebuild(id).id == id
    else:
        assert pins(store, id) == []
        assert files_with(store, CANARY) == []
