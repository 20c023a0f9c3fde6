"""Type checkers see the package's types in another project."""

import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = """
from featurestore import Entity, FeatureStore, FeatureView, Source, agg

customer = Entity("customer", keys="customer_id")
orders = Source("orders", table="shop.orders", timestamp="at")
view = FeatureView("v", entity=customer, source=orders, every="1d", features={"orders": agg.count(over="7d")})
with FeatureStore() as store:
    rows: int = store.training_set("s", spine="x.parquet", timestamp="t").manifest["rows"]
    store.apply([view])
"""
WRONG = """
from featurestore import Entity, FeatureStore

Entity("customer", keys=1)
FeatureStore().training_set(7)
"""
UNGRANTED = """
from featurestore.lakehouse import scans
from featurestore.lakehouse.compaction import Rewrite, partitions
from featurestore.lakehouse.datasets import open_snapshot
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.stored_files import stored_files
from featurestore.lakehouse.table import Table
from featurestore.records.runtime import Runtime

def read(table: Table, granted: Granted, runtime: Runtime) -> None:
    scans.scan_snapshot(granted, 1)
    scans.scan_snapshot(runtime.operator.grant(table), 1)
    scans.scan_snapshot(table, 1)
    scans.read_snapshot(table, 1)
    scans.read_equal(table, "a", "b")
    scans.read_changes(table, None, 1)
    scans.ordered_file_paths(table, 1, "a")
    open_snapshot(table, 1)
    partitions(table)
    Rewrite(table)
    scans.read_snapshot(runtime.reader.grant(table), 1)
    scans.read_snapshot(Granted(table, granted.permit), 1)
"""


@pytest.mark.slow
def test_a_users_type_checker_sees_our_types(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "ungranted.py").write_text(UNGRANTED)
    options = ["--strict", "--no-incremental", "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "mypy", *options, "right.py", "wrong.py", "ungranted.py"]
    run = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    errors = [line.split(":")[:2] for line in lines[:-1] if ": error:" in line]
    assert [line for file, line in errors if file == "wrong.py"] == ["4", "5"], run.stdout
    # Every read without a granted table, and nothing else.
    first = 1 + UNGRANTED.split("\n").index("    scans.scan_snapshot(table, 1)")
    assert [line for file, line in errors if file == "ungranted.py"] == [str(first + number) for number in range(10)], run.stdout
    assert len(errors) == 12, run.stdout
