"""Metadata of tables as they lie, by names as they are."""

import gzip
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from featurestore.access.rights import OPERATOR
from featurestore.errors import Forbidden, NotReady, TooLarge
from featurestore.lakehouse import metadata_files, tables
from featurestore.lakehouse.catalog import Catalog, open_catalog
from featurestore.settings import Settings

COLUMNS = pa.schema([("k", pa.int64())])
PERMIT = OPERATOR.permit("TABLE", "a.b.t")


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A catalog with one table, in a namespace in another."""
    opened = open_catalog(Settings(home=tmp_path))
    tables.create(opened, "a.b.t", COLUMNS)
    return opened


def test_names_of_namespaces_are_exact(catalog: Catalog) -> None:
    assert metadata_files.list_namespaces(catalog) == ["a"]
    assert metadata_files.list_namespaces(catalog, "a") == ["a.b"]
    assert metadata_files.list_namespaces(catalog, "nothing") == []
    assert [metadata_files.has_namespace(catalog, name) for name in ("a", "a.b", "A", "a.B", "a.%", "b")] == [True, True, *[False] * 4]
    assert dict(metadata_files.namespace_properties(catalog, "a.b")) == {"exists": "true"}
    assert dict(metadata_files.namespace_properties(catalog, "nothing")) == {}


def test_metadata_are_read_as_they_lie(catalog: Catalog) -> None:
    address = metadata_files.find_metadata(catalog, "a.b.t")
    assert address is not None
    metadata = metadata_files.read_metadata(catalog, "a.b.t", address, PERMIT)
    with pytest.raises(Forbidden, match=r"may not read a\.b\.t by a right on TABLE a\.b\.other"):
        metadata_files.read_metadata(catalog, "a.b.t", address, OPERATOR.permit("TABLE", "a.b.other"))
    assert metadata["table-uuid"] == tables.load(catalog, "a.b.t").uuid
    packed = f"{address.removesuffix('.metadata.json')}.gz.metadata.json"
    Path(packed).write_bytes(gzip.compress(Path(address).read_bytes()))
    assert metadata_files.read_metadata(catalog, "a.b.t", packed, PERMIT) == metadata
    assert [metadata_files.find_metadata(catalog, name) for name in ("a.b.T", "A.b.t", "a.t", "t")] == [None] * 4


def test_large_and_damaged_metadata_are_refused(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = metadata_files.find_metadata(catalog, "a.b.t")
    assert address is not None
    for damaged in (b'{"format', b""):
        path = tmp_path / "1.metadata.json"
        path.write_bytes(damaged)
        with pytest.raises(NotReady, match=r"metadata of a\.b\.t are damaged"):
            metadata_files.read_metadata(catalog, "a.b.t", str(path), PERMIT)
    path = tmp_path / "1.gz.metadata.json"
    shutil.copy(address, path)
    with pytest.raises(NotReady, match=r"metadata of a\.b\.t are damaged"):
        metadata_files.read_metadata(catalog, "a.b.t", str(path), PERMIT)
    with pytest.raises(NotReady, match="missing"):
        metadata_files.read_metadata(catalog, "a.b.t", str(tmp_path / "2.metadata.json"), PERMIT)
    monkeypatch.setattr(metadata_files, "MOST_BYTES", 1000)
    bomb = tmp_path / "3.gz.metadata.json"
    bomb.write_bytes(gzip.compress(b" " * 100_000))
    plain = tmp_path / "3.metadata.json"
    plain.write_bytes(b" " * 1001)
    for path in (bomb, plain):
        with pytest.raises(TooLarge, match=r"metadata of a\.b\.t are larger than"):
            metadata_files.read_metadata(catalog, "a.b.t", str(path), PERMIT)
