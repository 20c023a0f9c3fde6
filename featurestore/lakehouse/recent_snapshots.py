"""The files of expired snapshots that a reader may still use, from the manifest lists that they leave in the table's folder.

An expired snapshot is gone from the table's metadata, and its manifest list is an orphan file, whose header says which snapshot came
before. So nothing has to be recorded when a snapshot expires, however often that happens.
"""

import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime

import pyarrow.fs as pafs
from pyiceberg.avro.file import AvroFile
from pyiceberg.manifest import ManifestFile, read_manifest_list

from featurestore.lakehouse.table import Table

_UNREADABLE = (FileNotFoundError, EOFError, ValueError, zlib.error)
"""What a manifest list raises that an earlier removal of orphan files has deleted, or whose process was killed while it wrote it: no
commit has such a list.
"""
_MANIFEST_LIST = re.compile(r"snap-(\d+)-\d+-[0-9a-f-]+\.avro")


def files_of_recent_snapshots(table: Table, listed: Collection[pafs.FileInfo], since: datetime) -> set[str]:
    """The locations of the files of expired snapshots that were current at or after `since` (UTC).

    `listed` are the files in the table's folder. A snapshot was current until the one that names it as its parent was written.
    """
    lists = {info.base_name: info for info in listed if _MANIFEST_LIST.fullmatch(info.base_name)}
    kept = {snapshot.manifest_list.rpartition("/")[2]: snapshot.timestamp_ms / 1000 for snapshot in table.iceberg.snapshots()}
    written = {name: info.mtime.timestamp() for name, info in lists.items() if info.mtime is not None} | kept
    after = {name for name in lists if written.get(name, 0.0) >= since.timestamp()}
    parents = {parent for name in after if (parent := _parent(table, name)) is not None}
    recent = [name for name in lists.keys() - kept if name in after or _snapshot_id(name) in parents]
    manifests: dict[str, ManifestFile] = {}
    for name in recent:
        with suppress(*_UNREADABLE):
            file = table.iceberg.io.new_input(_location(table, name))
            manifests |= {manifest.manifest_path: manifest for manifest in read_manifest_list(file)}
    data = (path for manifest in manifests.values() for path in _data_files(table, manifest))
    return {*(_location(table, name) for name in recent), *manifests, *data}


def _data_files(table: Table, manifest: ManifestFile) -> Iterator[str]:
    with suppress(FileNotFoundError):
        yield from (entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.iceberg.io, discard_deleted=True))


def _snapshot_id(name: str) -> str:
    found = _MANIFEST_LIST.fullmatch(name)
    assert found is not None, "only names of manifest lists are passed"
    return found[1]


def _parent(table: Table, name: str) -> str | None:
    """The id of the snapshot before that of a manifest list; None without one, or if the list is unreadable."""
    with suppress(*_UNREADABLE), AvroFile[ManifestFile](table.iceberg.io.new_input(_location(table, name))) as reader:
        return reader.header.meta.get("parent-snapshot-id")
    return None


def _location(table: Table, name: str) -> str:
    return f"{table.iceberg.location_provider().metadata_path.rstrip('/')}/{name}"
