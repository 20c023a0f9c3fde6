"""The registry: versions and ranks, removed versions, and commits on the state that was seen."""

from dataclasses import replace
from typing import Any

import pytest

from featurestore.errors import CommitConflict, NotFound
from featurestore.records import definitions
from featurestore.records.definitions import REMOVED, Applied, Registry
from featurestore.records.runtime import Runtime


def version(number: int, name: str = "v", **changed: Any) -> Applied:
    """A version of a view."""
    return replace(Applied("view", name, number, f"f{number}", {"name": name}, {"k": "BIGINT"}, applied_at=number), **changed)


def append(runtime: Runtime, *rows: Applied) -> Registry:
    """Append rows to the registry, and read it."""
    definitions.append_to_registry(runtime, rows, definitions.read_registry(runtime).snapshot_id)
    return definitions.read_registry(runtime)


def test_nothing_is_applied_to_a_new_store(runtime: Runtime) -> None:
    known = definitions.read_registry(runtime)
    assert (known.rows, known.removed, known.snapshot_id, known.latest("view", "v")) == ({}, {}, None, None)
    assert (known.next_version("view", "v"), known.next_rank("view", "v")) == (1, 1)


def test_rows_are_read_as_they_were_appended(runtime: Runtime) -> None:
    service = Applied("service", "s", 1, "f", {"name": "s"}, bindings={"v": 2}, applied_at=5)
    first, second = version(1, sql="SELECT 1"), version(2, document={"name": "v", "tags": {"a": 1}})
    known = append(runtime, second, service, first)
    assert known.rows == {("view", "v"): [first, second], ("service", "s"): [service]}
    assert (known.names("view"), known.latest("view", "v")) == (["v"], second)
    assert (known.get("view", "v"), known.get("view", "v", 1)) == (second, first)
    assert (first.table, known.has(first), known.has(version(3))) == ("v_v1", True, False)


def test_the_row_applied_last_counts(runtime: Runtime) -> None:
    changed = version(1, document={"name": "v", "description": "words"}, applied_at=9)
    append(runtime, version(1))
    assert append(runtime, changed).rows == {("view", "v"): [changed]}


def test_a_rollback_makes_an_older_version_the_current_one(runtime: Runtime) -> None:
    known = append(runtime, version(1), version(2))
    back = version(1, rank=known.next_rank("view", "v"), applied_at=10)
    known = append(runtime, back)
    assert (known.latest("view", "v"), back.order) == (back, 3)
    assert (known.next_version("view", "v"), known.next_rank("view", "v")) == (3, 4)


def test_numbers_of_removed_versions_are_not_used_again(runtime: Runtime) -> None:
    append(runtime, version(1), version(2))
    known = append(runtime, version(2, document={REMOVED: []}, applied_at=10))
    assert [row.version for row in known.rows["view", "v"]] == [1]
    assert [row.removed for row in known.removed["view", "v"]] == [True]
    assert known.next_version("view", "v") == 3
    assert len(list(known.all_rows())) == 2


def test_unknown_names_and_versions_are_named_with_the_nearest(runtime: Runtime) -> None:
    known = append(runtime, version(1, "orders"), version(2, "orders"))
    with pytest.raises(NotFound, match=r"ordres.*orders"):
        known.get("view", "ordres")
    with pytest.raises(NotFound, match=r"version '3'.*view orders"):
        known.get("view", "orders", 3)


def test_what_others_applied_since_is_named(runtime: Runtime) -> None:
    base = append(runtime, version(1)).snapshot_id
    append(runtime, version(1, "other", applied_at=20))
    with pytest.raises(CommitConflict, match=r"plan again: view other v1 at 1970-01-01T00:00:00.000020Z") as caught:
        definitions.append_to_registry(runtime, [version(2)], base)
    assert caught.value.details["applied"] == ["view other v1"]
    with pytest.raises(CommitConflict, match="plan again"):
        definitions.refuse_stale(runtime, base)
    assert definitions.read_registry(runtime).latest("view", "v") == version(1)
