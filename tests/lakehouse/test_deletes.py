"""Deletes written by other engines: read correctly, also as changes, or refused with an error."""

from collections import Counter

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.table.snapshots import Operation

from featurestore.errors import NotYet
from featurestore.lakehouse import scans
from featurestore.lakehouse.scan_plan import TimeRange
from featurestore.lakehouse.table import Table
from tests.granting import grant
from tests.lakehouse.data import events
from tests.lakehouse.deletes import add_foreign, delete_by_vector, delete_equal, delete_rows
from tests.lakehouse.test_scans import ROWS, current, rows_of, user_table

POSITION = DataFileContent.POSITION_DELETES


def keys(table: Table, snapshot_id: int | None = None) -> list[int]:
    return sorted(row["k"] for row in rows_of(scans.scan_snapshot(grant(table), snapshot_id or current(table))))


def change(table: Table, after: int) -> tuple[list[int], list[int]]:
    """The keys that came and went."""
    changes = scans.read_changes(grant(table), after, current(table))
    came, went = (
        Counter(tuple(sorted(row.items())) for row in ([] if part is None else rows_of(part)))
        for part in (changes.relation, changes.removed)
    )
    return tuple(sorted(dict(row)["k"] for row in (one - other).elements()) for one, other in ((came, went), (went, came)))  # type: ignore[return-value]


def test_vectors_and_positions_are_read_together(catalog: Catalog) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    whole = current(table)
    delete_by_vector(table, [0])
    first = current(table)
    assert keys(table) == [2, 3]
    delete_rows(table, POSITION, [2])
    assert (keys(table), keys(table, first), keys(table, whole)) == ([2], [2, 3], [1, 2, 3])
    assert (change(table, whole), change(table, first)) == (([], [1, 3]), ([], [3]))
    table.iceberg.append(events((9, "2026-06-01", "z")))
    assert (keys(table), change(table, whole), change(table, first)) == ([2, 9], ([9], [1, 3]), ([9], [3]))


@pytest.mark.parametrize("operation", [Operation.APPEND, Operation.OVERWRITE, Operation.DELETE])
@pytest.mark.parametrize("vector", [False, True])
def test_deletes_are_no_append_whatever_the_snapshot_says(catalog: Catalog, operation: Operation, vector: bool) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    before = current(table)
    if vector:
        delete_by_vector(table, [1], operation)
    else:
        delete_rows(table, POSITION, [1], operation)
    table.iceberg.append(events((9, "2026-06-01", "z")))
    assert change(table, before) == ([9], [2])


def test_a_row_that_is_added_again_after_its_delete_is_there(catalog: Catalog) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    before = current(table)
    delete_by_vector(table, [1])
    table.iceberg.append(ROWS.slice(1, 1))
    assert (keys(table), change(table, before)) == ([1, 2, 3], ([], []))


@pytest.mark.parametrize("operation", [Operation.APPEND, Operation.OVERWRITE, Operation.DELETE])
def test_equality_deletes_are_refused_whatever_is_asked_for(catalog: Catalog, operation: Operation) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    before = current(table)
    # The row that is deleted lies outside of what is asked for by its own time, as the deleted key's rows need not.
    delete_equal(table, events((1, "2020-01-01", "old")), ["k"], operation)
    late = TimeRange("t", lower_us=1_700_000_000_000_000)
    for ask in (
        lambda: scans.scan_snapshot(grant(table), current(table)),
        lambda: scans.scan_snapshot(grant(table), current(table), time=late),
        lambda: scans.snapshot_files(grant(table), current(table)),
        lambda: scans.read_snapshot(grant(table), current(table)),
        lambda: scans.read_changes(grant(table), before, current(table)),
        lambda: scans.read_changes(grant(table), None, current(table)),
    ):
        with pytest.raises(NotYet, match=r"shop.orders has equality deletes.*compaction"):
            ask()
    table.iceberg.append(events((9, "2026-06-01", "z")))
    with pytest.raises(NotYet, match=r"shop.orders has equality deletes"):
        scans.read_changes(grant(table), before, current(table))
    assert keys(table, before) == [1, 2, 3]


def test_formats_that_cannot_be_read_are_named(catalog: Catalog) -> None:
    table = user_table(catalog)
    table.iceberg.append(ROWS)
    add_foreign(table, FileFormat.AVRO)
    with pytest.raises(NotYet, match=r"shop.orders has AVRO files.*rewrite"):
        scans.scan_snapshot(grant(table), current(table))
