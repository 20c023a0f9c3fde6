"""Compaction changes files but no rows, for readers of snapshots, appended rows and older snapshots."""

from collections.abc import Mapping
from math import log, log2
from random import Random

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.table import FileScanTask

from featurestore.errors import CommitConflict, OutOfResources, TypeMismatch
from featurestore.lakehouse import compaction, scans, tables, writes
from featurestore.lakehouse.compaction import MIN_RECENT_FILES, MIN_SMALL_FILES, FileGroup, Rewrite
from featurestore.lakehouse.table import Table
from tests.granting import grant
from tests.lakehouse.data import EVENTS, by_id, events, files, reader
from tests.lakehouse.deletes import delete_rows
from tests.lakehouse.interference import dead_line, open_interfered


def make_scattered_table(catalog: Catalog, rows: int, month_of: str | None = "t") -> Table:
    """A table of a file per row, all of one month."""
    table = tables.create(catalog, "features.f", EVENTS, month_of=month_of)
    for number in range(rows):
        writes.append(table, reader(events((rows - number, "2026-01-05", f"v{number}"))), summary={})
    return table


def rows_of(table: Table, group: FileGroup) -> pa.Table:
    return pa.Table.from_pylist(by_id(compaction.read_group(grant(table), group)), EVENTS)


def rewritten(table: Table, drop: int = 0) -> Rewrite:
    """New files for every fragmented partition, sorted by k, the first rows dropped."""
    rewrite = Rewrite(grant(table))
    for group in compaction.partitions(grant(table)):
        small = group.small_files()
        if small is not None:
            rewrite.write(small, reader(rows_of(table, small).sort_by("k").slice(drop)))
    return rewrite


def count_rows(table: Table) -> tuple[Mapping[str, str], Mapping[str, str]]:
    return {"by": "test"}, {"rows-seen": str(table.iceberg.scan().count())}


def keys(table: Table, snapshot: int | None) -> list[int]:
    return [row["k"] for row in by_id(scans.scan_snapshot(grant(table), snapshot))]


@pytest.mark.parametrize("month_of", ["t", None])
def test_many_files_become_one_and_no_row_changes(catalog: Catalog, month_of: str | None) -> None:
    table = make_scattered_table(catalog, 6, month_of)
    before = table.snapshot_id
    assert rewritten(table).commit(count_rows) == (before, table.snapshot_id)
    fresh = tables.load(catalog, "features.f")
    assert len(fresh.iceberg.inspect.files()) == 1
    assert keys(fresh, fresh.snapshot_id) == [1, 2, 3, 4, 5, 6], "in the order they were written in"
    assert sorted(keys(fresh, before)) == [1, 2, 3, 4, 5, 6]
    summary = tables.summary(fresh, fresh.iceberg.metadata.current_snapshot_id or 0)
    assert (summary["operation"], summary["by"], summary["total-records"], summary["total-data-files"]) == ("replace", "test", "6", "1")
    assert fresh.properties["rows-seen"] == "6"
    assert not [group for group in compaction.partitions(grant(fresh)) if group.small_files()]


def test_partitions_are_apart_and_few_files_are_left_alone(catalog: Catalog) -> None:
    table = make_scattered_table(catalog, MIN_SMALL_FILES)
    for number in range(MIN_SMALL_FILES - 1):
        writes.append(table, reader(events((100 + number, "2026-02-05", "x"))), summary={})
    assert [(group.files, group.rows) for group in compaction.partitions(grant(table))] == [
        (MIN_SMALL_FILES, MIN_SMALL_FILES),
        (MIN_SMALL_FILES - 1, MIN_SMALL_FILES - 1),
    ]
    assert [group.small_files() is None for group in compaction.partitions(grant(table))] == [False, True]
    rewritten(table).commit(count_rows)
    assert [group.files for group in compaction.partitions(grant(table))] == [1, MIN_SMALL_FILES - 1]


def test_merging_during_runs_leaves_few_files_and_rewrites_rows_seldom() -> None:
    """A thousand runs add rows to the newest partition, or to an older one; its files are merged as soon as that pays."""
    random = Random(1)
    for newest, most_files in ((True, 2 * MIN_RECENT_FILES), (False, MIN_RECENT_FILES)):
        files: list[int] = []
        added = rewritten = 0
        for _ in range(1000):
            files.append(random.choice((1, 50, 100, 200)))
            added += files[-1]
            group = FileGroup(1, tuple(FileScanTask(data_file(rows)) for rows in files))
            merged = group.mergeable(newest, compaction.RUN_BYTES)
            if merged is not None:
                for task in merged.tasks:
                    files.remove(task.file.record_count)
                files.append(merged.rows)
                rewritten += merged.rows
            assert len(files) <= most_files
        assert sum(files) == added
        assert rewritten <= (log2(added) if newest else log(added, 1.25)) * added


def test_a_run_rewrites_a_bounded_number_of_bytes() -> None:
    group = FileGroup(1, tuple(FileScanTask(data_file(1000)) for _ in range(20)))
    size = group.bytes // 20
    merged = group.mergeable(True, 10 * size)
    assert merged is not None
    assert merged.files == 10
    assert group.mergeable(True, 7 * size) is None
    large = FileGroup(1, tuple(FileScanTask(data_file(1000, compaction.SMALL_BYTES)) for _ in range(20)))
    assert large.mergeable(False, 1 << 40) is None


def data_file(rows: int, size: int | None = None) -> DataFile:
    return DataFile.from_args(file_path=f"{rows}", record_count=rows, file_size_in_bytes=size or 2000 + 20 * rows)


def test_who_reads_what_was_appended_sees_no_change(catalog: Catalog) -> None:
    table = make_scattered_table(catalog, 6)
    seen = table.snapshot_id
    assert seen is not None
    _, compacted = rewritten(table).commit(count_rows)
    nothing = scans.read_changes(grant(table), seen, compacted)
    assert nothing.appended
    assert by_id(nothing.relation) == []
    writes.append(table, reader(events((7, "2026-01-06", "late"))), summary={})
    late = table.snapshot_id
    assert late is not None
    for after in (seen, compacted):
        changes = scans.read_changes(grant(table), after, late)
        assert changes.appended
        assert [row["k"] for row in by_id(changes.relation)] == [7]
    early = scans.read_changes(grant(table), table.snapshot_ids[3], late)
    assert sorted(row["k"] for row in by_id(early.relation)) == [1, 2, 7]
    assert compaction.only_rewritten(table, seen, compacted)
    assert not compaction.only_rewritten(table, seen, late)
    assert compaction.only_rewritten(table, late, late)
    assert not compaction.only_rewritten(table, None, late)


def test_rows_that_are_dropped_are_an_overwrite(catalog: Catalog) -> None:
    table = make_scattered_table(catalog, 6)
    before = table.snapshot_id
    assert before is not None
    rewrite = rewritten(table, drop=2)
    assert rewrite.dropped == 2
    _, made = rewrite.commit(count_rows)
    assert tables.summary(table, made)["operation"] == "overwrite"
    assert keys(table, made) == [3, 4, 5, 6]
    assert len(keys(table, before)) == 6
    assert not scans.read_changes(grant(table), before, made).appended


def test_rows_appended_meanwhile_stay(catalog: Catalog) -> None:
    make_scattered_table(catalog, 6)
    with open_interfered(catalog) as slow:
        table = tables.load(slow, "features.f")
        rewrite = rewritten(table)
        slow.before = lambda: writes.append_retrying(tables.load(catalog, "features.f"), reader(events((7, "2026-01-06", "x"))))
        _, made = rewrite.commit(count_rows)
    fresh = tables.load(catalog, "features.f")
    assert fresh.snapshot_id == made
    assert sorted(keys(fresh, made)) == [1, 2, 3, 4, 5, 6, 7]
    assert fresh.properties["rows-seen"] == "7", "noted for the state that it was committed on"
    assert len(files(fresh)) == 6 + 1 + 1


def test_of_two_rewrites_the_first_wins_and_the_other_leaves_nothing(both: Catalog) -> None:
    table = make_scattered_table(both, 6)
    first, second = rewritten(tables.load(both, "features.f")), rewritten(table)
    _, made = first.commit(count_rows)
    with pytest.raises(CommitConflict, match="rewritten by another process"):
        second.commit(count_rows)
    fresh = tables.load(both, "features.f")
    assert fresh.snapshot_id == made
    assert len(files(fresh)) == 6 + 1


def test_a_failure_leaves_no_file(catalog: Catalog) -> None:
    table = make_scattered_table(catalog, 6)
    (group,) = compaction.partitions(grant(table))
    wrong = rows_of(table, group).set_column(0, "k", pa.array(["x"] * 6))
    with pytest.raises(TypeMismatch):
        Rewrite(grant(table)).write(group, reader(wrong))
    rewrite = rewritten(table)
    rewrite.discard()
    assert len(files(table)) == 6
    with open_interfered(catalog) as full:
        rewrite = rewritten(tables.load(full, "features.f"))
        full.before = lambda: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        with pytest.raises(OutOfResources):
            rewrite.commit(count_rows)
    assert len(files(table)) == 6


def test_a_commit_whose_answer_is_lost_has_landed(catalog: Catalog) -> None:
    make_scattered_table(catalog, 6)
    with open_interfered(catalog) as interrupted:
        table = tables.load(interrupted, "features.f")
        interrupted.after = dead_line
        _, made = rewritten(table).commit(count_rows)
    fresh = tables.load(catalog, "features.f")
    assert fresh.snapshot_id == made
    assert keys(fresh, made) == [1, 2, 3, 4, 5, 6]


def test_partitions_with_deleted_rows_are_left_alone(catalog: Catalog) -> None:
    catalog.create_namespace("shop")
    table = Table(catalog.create_table("shop.orders", EVENTS))
    table.iceberg.append(events(*((number, "2026-01-01", "a") for number in range(6))))
    delete_rows(table, DataFileContent.POSITION_DELETES, [0])
    assert compaction.partitions(grant(tables.load(catalog, "shop.orders"))) == []


def test_a_table_without_rows_has_nothing_to_compact(catalog: Catalog) -> None:
    assert compaction.partitions(grant(tables.create(catalog, "features.f", EVENTS, month_of="t"))) == []


def test_large_partitions_are_cut_into_files_of_the_target_size(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "ROW_GROUP_ROWS", 2)
    table = make_scattered_table(catalog, 7)
    (group,) = compaction.partitions(grant(table))
    monkeypatch.setattr(compaction, "TARGET_BYTES", 3 * group.bytes // 7)
    rewrite = Rewrite(grant(table))
    rewrite.write(group, reader(rows_of(table, group).sort_by("k"), size=2))
    _, made = rewrite.commit(count_rows)
    assert sorted(table.iceberg.inspect.files()["record_count"].to_pylist()) == [1, 3, 3]
    assert sorted(keys(table, made)) == [1, 2, 3, 4, 5, 6, 7]
