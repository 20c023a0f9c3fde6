"""Tables on S3: writes, reads, conflicts and removal of orphan files through pyarrow's file system."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from featurestore.compiler.relations import IcebergFiles
from featurestore.errors import CommitConflict, NotReady
from featurestore.lakehouse import compaction, dropping, maintenance, scans, tables, writes
from featurestore.lakehouse.catalog import open_catalog
from featurestore.settings import Settings
from tests.granting import grant
from tests.lakehouse.data import EVENTS, events, reader, replace_rows
from tests.s3 import ACCESS, filesystem, server, stored_names

ROWS = events((1, "2026-01-01", "a"), (2, "2026-02-01", "b"))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with server() as address:
        yield address


@pytest.mark.slow
def test_a_warehouse_on_s3(endpoint: str, tmp_path: Path) -> None:
    connection = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "s3.endpoint": endpoint, **ACCESS}
    with open_catalog(Settings(home=tmp_path, warehouse="s3://lake/ware house", catalog=connection)) as catalog:
        table = tables.create(catalog, "features.f", EVENTS, month_of="t")
        stale = tables.load(catalog, "features.f")
        first = writes.append(table, reader(ROWS), summary={"n": "1"})
        assert first is not None
        scanned = scans.scan_snapshot(grant(table), first, columns=["v"])
        assert not isinstance(scanned, IcebergFiles)
        assert sorted(scanned.read_all()["v"].to_pylist()) == ["a", "b"]
        with pytest.raises(CommitConflict):
            writes.append(stale, reader(ROWS), summary={})
        folder = "lake/ware house/features/f"
        assert len(stored_names(endpoint, f"{folder}/data")) == 2

        second = writes.append(table, reader(events((3, "2026-03-01", "c"))), summary={})
        assert second is not None
        assert scans.read_changes(grant(table), first, second).relation.read_all()["k"].to_pylist() == [3]  # type: ignore[union-attr]
        built = [replace_rows(catalog, "training_sets.t", reader(ROWS), summary={}, tag=f"t{n}") for n in range(2)]
        assert scans.read_snapshot(grant(tables.load(catalog, "training_sets.t")), built[0]).read_all() == ROWS

        with filesystem(endpoint).open_output_stream(f"{folder}/data/lost.parquet") as stream:
            stream.write(b"x")
        later = datetime.now(UTC) + timedelta(minutes=1)
        assert maintenance.expire_snapshots(table, later, dry_run=False).snapshots == 1
        assert maintenance.remove_orphan_files(table, later, dry_run=False).files >= 2
        assert len(stored_names(endpoint, f"{folder}/data")) == 3
        assert sorted(scans.read_snapshot(grant(table), second).read_all()["k"].to_pylist()) == [1, 2, 3]

    connection["s3.endpoint"] = "http://127.0.0.1:1"
    with open_catalog(Settings(home=tmp_path, warehouse="s3://lake/ware house", catalog=connection)) as catalog, pytest.raises(NotReady):
        tables.load(catalog, "features.f")


@pytest.mark.slow
def test_compaction_on_s3(endpoint: str, tmp_path: Path) -> None:
    connection = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "s3.endpoint": endpoint, **ACCESS}
    with open_catalog(Settings(home=tmp_path, warehouse="s3://lake/compacted", catalog=connection)) as catalog:
        table = tables.create(catalog, "features.f", EVENTS, month_of="t")
        for number in range(6):
            writes.append(table, reader(events((6 - number, "2026-01-01", "x"))), summary={})
        (group,) = compaction.partitions(grant(table))
        rewrite = compaction.Rewrite(grant(table))
        rows = compaction.read_group(grant(table), group)
        assert not isinstance(rows, IcebergFiles)
        rewrite.write(group, reader(rows.read_all().sort_by("k")))
        _, made = rewrite.commit(lambda _: ({}, {}))
        assert scans.read_snapshot(grant(table), made).read_all()["k"].to_pylist() == [1, 2, 3, 4, 5, 6]
        soon = datetime.now(UTC) + timedelta(minutes=1)
        assert maintenance.expire_snapshots(table, soon).snapshots == 6
        assert maintenance.remove_orphan_files(table, soon).files > 6
        assert len(stored_names(endpoint, "lake/compacted/features/f/data")) == 1
        assert scans.read_snapshot(grant(table), made).read_all()["k"].to_pylist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_table_dropped_on_s3(endpoint: str, tmp_path: Path) -> None:
    connection = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "s3.endpoint": endpoint, **ACCESS}
    with open_catalog(Settings(home=tmp_path, warehouse="s3://lake/dropped", catalog=connection)) as catalog:
        kept, gone = (tables.create(catalog, name, EVENTS, month_of="t") for name in ("features.f", "features.f_2"))
        for table in (kept, gone):
            writes.append(table, reader(ROWS), summary={})
        files = stored_names(endpoint, "lake/dropped/features/f_2")
        assert dropping.drop_table(catalog, "features.f_2", dropping.identity_of(gone)).files == len(files)
        assert stored_names(endpoint, "lake/dropped/features/f_2") == set()
        assert not catalog.table_exists("features.f_2")
        assert dropping.drop_table(catalog, "features.f_2", dropping.identity_of(gone)) == dropping.FolderContents(0, 0)
        assert scans.read_snapshot(grant(kept), kept.snapshot_id).read_all() == ROWS
