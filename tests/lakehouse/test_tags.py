"""Tags stay at their snapshots."""

import pytest
from pyiceberg.catalog import Catalog

from featurestore.errors import CommitConflict, Conflict, NotFound
from featurestore.lakehouse import tables, tags, writes
from tests.lakehouse.data import EVENTS, events, reader
from tests.lakehouse.interference import open_interfered

ROWS = events((1, "2026-01-01", "a"))


def two_snapshots(catalog: Catalog) -> list[int]:
    table = tables.create(catalog, "features.f", EVENTS)
    for _ in range(2):
        writes.append(table, reader(ROWS), summary={})
    return table.snapshot_ids


def test_tags_are_set_once(both: Catalog) -> None:
    first, second = two_snapshots(both)
    table = tables.load(both, "features.f")
    tags.set_tag(table, "a", first)
    tags.set_tag(table, "b", second)
    tags.set_tag(table, "c", first)
    location = table.metadata_location
    tags.set_tag(table, "a", first)
    assert table.metadata_location == location
    assert tags.tags(table) == tags.tags(tables.load(both, "features.f")) == {"a": first, "b": second, "c": first}
    with pytest.raises(Conflict, match=f"is the snapshot {first}"):
        tags.set_tag(table, "a", second)
    with pytest.raises(Conflict):
        tags.set_tag(table, "main", second)
    with pytest.raises(NotFound, match="no snapshot '5'"):
        tags.set_tag(table, "d", 5)


def test_a_stale_handle_tags_as_well(both: Catalog) -> None:
    first, second = two_snapshots(both)
    stale = tables.load(both, "features.f")
    tags.set_tag(tables.load(both, "features.f"), "a", first)
    tags.set_tag(stale, "a", first)
    tags.set_tag(stale, "b", first)
    assert tags.tags(stale) == {"a": first, "b": first}
    stale = tables.load(both, "features.f")
    tags.set_tag(tables.load(both, "features.f"), "c", first)
    with pytest.raises(Conflict):
        tags.set_tag(stale, "c", second)


def test_two_writers_of_tags_at_once(both: Catalog) -> None:
    first, second = two_snapshots(both)
    with open_interfered(both) as slow:
        table = tables.load(slow, "features.f")
        slow.before = lambda: tags.set_tag(tables.load(both, "features.f"), "other", second)
        tags.set_tag(table, "mine", first)
        assert tags.tags(table) == {"other": second, "mine": first}
        slow.before = lambda: tags.set_tag(tables.load(both, "features.f"), "same", second)
        with pytest.raises(Conflict):
            tags.set_tag(table, "same", first)
    assert tags.tags(tables.load(both, "features.f"))["same"] == second


def test_a_note_comes_and_goes_with_its_tag(both: Catalog) -> None:
    first, second = two_snapshots(both)
    table = tables.load(both, "features.f")
    assert tags.set_tag(table, "a", first, "mine")
    assert not tags.set_tag(tables.load(both, "features.f"), "a", first, "another's")
    assert tags.set_tag(table, "b", second, "mine")
    assert tags.notes(table) == {"a": "another's", "b": "mine"}
    stale = tables.load(both, "features.f")
    assert not tags.set_tag(table, "a", first, "mine again")
    with pytest.raises(CommitConflict):
        tags.settle_tags(stale, [], ["a"])
    assert tags.tags(tables.load(both, "features.f")) == {"a": first, "b": second}
    tags.settle_tags(stale, ["b"], [])
    tags.settle_tags(table, [], ["a"])
    table = tables.load(both, "features.f")
    assert (tags.tags(table), tags.notes(table)) == ({"b": second}, {})


def test_a_tag_taken_over_at_the_last_moment_is_not_taken_away(both: Catalog) -> None:
    first, _ = two_snapshots(both)
    tags.set_tag(tables.load(both, "features.f"), "a", first, "dead")
    with open_interfered(both) as slow:
        table = tables.load(slow, "features.f")
        slow.before = lambda: tags.set_tag(tables.load(both, "features.f"), "a", first, "alive")
        with pytest.raises(CommitConflict):
            tags.settle_tags(table, [], ["a"])
        assert tags.tags(tables.load(both, "features.f")) == {"a": first}
        # What others do besides is no reason to leave it.
        table = tables.load(slow, "features.f")
        slow.before = lambda: tags.set_tag(tables.load(both, "features.f"), "b", first)
        tags.settle_tags(table, [], ["a"])
    assert tags.tags(tables.load(both, "features.f")) == {"b": first}
