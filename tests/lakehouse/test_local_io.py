"""Local files are opened without pyiceberg's pyarrow module, and other readers and writers find no difference."""

import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from featurestore.lakehouse.local_io import LocalFile, LocalFirstIO, local_path, parse_location, pyarrow_io

ROWS = pa.table({"k": [1, 2, 3], "v": ["a", None, "c"]})


@pytest.mark.parametrize(
    "location", ["/a/b c.parquet", "file:///a/b%20c.parquet", "a/b", "s3://bucket/key", "file://host/a", "/a/#?.parquet", "hdfs://h:1/x"]
)
def test_locations_are_read_as_pyiceberg_reads_them(location: str) -> None:
    if local_path(location) is not None:
        assert parse_location(location, {}) == pyarrow_io().PyArrowFileIO.parse_location(location)
    else:
        assert pyarrow_io().PyArrowFileIO.parse_location(location)[0] != "file" or "host" in location


def test_a_table_is_written_and_read_by_pyiceberg_itself(catalog: Catalog) -> None:
    catalog.create_namespace_if_not_exists("ns")
    table = catalog.create_table("ns.t", ROWS.schema)
    table.append(ROWS)
    table.append(ROWS)
    table.delete("k = 2")
    assert sorted(catalog.load_table("ns.t").scan().to_arrow().column("k").to_pylist()) == [1, 1, 3, 3]


def test_a_file_is_not_written_over_and_a_missing_one_is_told(tmp_path: Path) -> None:
    io = LocalFirstIO({})
    path = tmp_path / "new" / "folder" / "file"
    with io.new_output(str(path)).create() as stream:
        stream.write(b"abc")
    with pytest.raises(FileExistsError):
        io.new_output(str(path)).create()
    again = pickle.loads(pickle.dumps(io))  # noqa: S301 - our own object
    assert len(again.new_input(path.as_uri())) == 3
    io.delete(path.as_uri())
    assert not io.new_input(str(path)).exists()
    with pytest.raises(FileNotFoundError):
        io.new_input(str(path)).open()
    assert not isinstance(io.new_input("s3://bucket/key"), LocalFile)


@pytest.mark.slow
def test_commands_that_read_little_import_little(tmp_path: Path) -> None:
    """pandas and what imports it take half a second, and a library that speaks HTTP a tenth of one, which no listing is to wait for."""
    heavy = {"pandas", "pyarrow.dataset", "pyiceberg.io.pyarrow", "mlflow", "fastapi", "sklearn", "requests", "httpx", "redis"}
    begin = [["init", "."], ["apply"], ["materialize"]]
    _run(tmp_path, begin)
    for command in (["show", "views"], ["online", "churn", "customer_id=13", "--request", "basket=80"], ["plan"], ["doctor"]):
        imported = _run(tmp_path, [command]).split()
        assert not set(imported) & heavy, command


def _run(folder: Path, commands: list[list[str]]) -> str:
    """Run commands in one process of their own. Returns the names of the modules that it has imported."""
    code = (
        f"import sys; from featurestore.cli import main\nfor command in {commands}: main([*command, '--json'], standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()[-1]
