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


@pytest.mark.slow
def test_a_users_type_checker_sees_our_types(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir", str(tmp_path / "cache"), "right.py", "wrong.py"]
    run = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert [line.split(":")[:2] for line in lines[:-1] if ": error:" in line] == [["wrong.py", "4"], ["wrong.py", "5"]], run.stdout
