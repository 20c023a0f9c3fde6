"""The choke point of reads: rows are read of granted tables only, and only guards grant them."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import featurestore
from featurestore import Source
from featurestore.access.grant_book import GrantBook
from featurestore.access.grants import grants_table
from featurestore.access.policies import Policies
from featurestore.access.policy_book import PolicyBook
from featurestore.access.principal import Principal
from featurestore.access.rights import Rights
from featurestore.compiler.row_policy import OPEN, RowPolicy
from featurestore.errors import Forbidden
from featurestore.lakehouse import granted, scans, tables
from featurestore.lakehouse.granted import Granted, Permit
from featurestore.records.operator import Operator
from featurestore.records.reader import Reader
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings
from featurestore.sources.pinned_source import open_source
from featurestore.spines.reading import read_rows
from tests.granting import grant

ROOT = Path(featurestore.__file__).parent
GUARDS = {"access/rights.py", "records/operator.py", "sharing/readable.py"}
AS_OPERATOR = {
    "pipelines/lineage/impact.py",
    "pipelines/materialization/edition.py",
    "pipelines/fresh/refresher.py",
    "pipelines/materialization/changes_ahead.py",
    "pipelines/materialization/outcome.py",
    "pipelines/planning/apply.py",
    "pipelines/planning/plan.py",
    "pipelines/pushed/copying.py",
    "pipelines/pushed/target.py",
    "pipelines/pushed/write.py",
    "pipelines/training_sets/build.py",
    "pipelines/written/write.py",
    "store/principal/definitions.py",
}
"""Verbs that read as the store does whoever asks, and return none of those rows; each is a decision: see docs/decisions/granted.md."""
READING = {
    *("scan_snapshot", "scan_files", "read_snapshot", "read_equal", "read_changes", "relation"),
    *("plan_scan", "snapshot_files", "ordered_file_paths", "stored_files", "open_snapshot"),
    *("partitions", "read_group", "find_in_history", "rewrite_history"),
}
"""The functions that return rows, their number, or where their files are."""
ROWS = re.compile(
    r"\b(RecordBatch|RecordBatchReader|pa\.Table|IcebergFiles|Dataset|SnapshotStream|Changes|StoredFiles|FileGroup|FileScanTask|DataFile"
    r"|FileSystem|RewrittenHistory)\b"
)
"""Types of results that have rows or files."""


def calls(name: str) -> set[str]:
    """The modules that call a function of this name, or use an attribute of it."""
    return _used()[name]


@cache
def _used() -> dict[str, set[str]]:
    used: dict[str, set[str]] = defaultdict(set)
    for path in ROOT.rglob("*.py"):
        module = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                used[node.attr].add(module)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                used[node.func.id].add(module)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    used[f"import {alias.name}"].add(module)
    return used


def test_only_guards_make_what_a_read_takes() -> None:
    assert calls("Granted") == calls("Permit") == {"lakehouse/granted.py"}
    assert calls("issue") == calls("issue_permit") - {"lakehouse/granted.py"} == GUARDS
    assert calls("reissue") == {"lakehouse/shipped.py"}
    for private in ("_SEAL", "issue", "issue_permit", "reissue"):
        assert not calls(f"import {private}"), "they are called as granted.issue, which the line above finds"
    assert calls("Operator") == {"records/runtime.py"}


def test_verbs_that_read_as_the_store_whoever_asks_are_listed() -> None:
    assert calls("as_operator") == AS_OPERATOR


def test_nothing_reads_around_the_granted_tables() -> None:
    """pyiceberg's tables can be scanned by themselves. The demo uses them as users do, through `store.catalog`."""
    for way in ("iceberg", "load_table", "plan_files", "incremental_append_scan"):
        assert calls(way)
        assert {path for path in calls(way) if not path.startswith(("lakehouse/", "demo/"))} == set()


def test_the_lakehouse_reads_files_in_few_places() -> None:
    """Whatever reads data files in another module is to take a granted table, too, and then stands here."""
    ways = {
        "ManifestGroupPlanner": {"lakehouse/scan_plan.py"},
        "ArrowScan": {"lakehouse/scans.py"},
        # Files that are not on this machine are read for scans and stored files, which take granted tables.
        "ParquetFile": {"lakehouse/history_rewrite.py", "lakehouse/object_parquet.py", "lakehouse/scans.py"},
        # A deletion looks whether there is a row.
        "scan": {"lakehouse/scans.py", "lakehouse/writes.py"},
        "to_arrow": {"lakehouse/scans.py", "lakehouse/writes.py"},
    }
    assert {way: {path for path in calls(way) if path.startswith("lakehouse/")} for way in ways} == ways


@pytest.mark.parametrize("path", sorted((ROOT / "lakehouse").glob("*.py")), ids=lambda path: path.stem)
def test_what_returns_rows_or_files_takes_a_granted_table(path: Path) -> None:
    for function in functions_of(path):
        takes = {ast.unparse(argument.annotation) for argument in arguments_of(function) if argument.annotation is not None}
        if "Table" in takes and function.returns is not None:
            assert not ROWS.search(ast.unparse(function.returns)), f"{function.name} takes a Table, and returns rows or files of it"


def test_functions_that_take_granted_tables_are_found() -> None:
    """What the test before asserts can fail: without the word Granted these would be found."""
    taking = {
        function.name
        for path in (ROOT / "lakehouse").glob("*.py")
        for function in functions_of(path)
        if "Granted" in {ast.unparse(argument.annotation) for argument in arguments_of(function) if argument.annotation is not None}
        and function.returns is not None
        and ROWS.search(ast.unparse(function.returns))
    }
    assert taking >= READING


def functions_of(path: Path) -> list[ast.FunctionDef]:
    """The public functions of a module."""
    functions = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [function for function in functions if not function.name.startswith("_")]


def arguments_of(function: ast.FunctionDef) -> list[ast.arg]:
    """All arguments of a function."""
    arguments = function.args
    more = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *more]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    """A runtime with two tables of one row."""
    opened = Runtime(Settings(home=tmp_path / "home"))
    for name in ("shop.orders", "shop.customers"):
        rows = pa.table({"k": [1]})
        table = tables.create(opened.catalog, name, rows.schema)
        table.iceberg.append(rows)
    yield opened
    opened.close()


class Book(GrantBook):
    """Grants that are not read from a catalog."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def allows(self, principal: Principal, privilege: Any, on: Any) -> bool:
        """Whether it is one of the names."""
        return f"{privilege} ON {on}" in self.names


class NoPolicies(PolicyBook):
    """Policies that are not read from a catalog: there are none."""

    def __init__(self) -> None:
        pass

    def policies(self) -> Policies:
        """None."""
        return {}

    def policy_of_table(self, groups: frozenset[str], table: str) -> RowPolicy:
        """Nothing is hidden."""
        return OPEN


def reader(*names: str) -> Reader:
    """A principal with these rights."""
    return Rights(Principal("him"), Book(*names), NoPolicies())


def test_a_grant_cannot_be_forged_or_moved_to_another_table(runtime: Runtime) -> None:
    orders, customers = (tables.load(runtime.catalog, name) for name in ("shop.orders", "shop.customers"))
    granted_orders = grant(orders)
    seal: Any = object()
    forged: Any = granted_orders
    with pytest.raises(TypeError, match="only a guard makes a Granted"):
        Granted(orders, granted_orders.permit, seal)
    with pytest.raises(TypeError, match="only a guard makes a Permit"):
        Permit("him", "CATALOG", None, seal)
    with pytest.raises((TypeError, ValueError)):
        replace(forged, table=customers)
    with pytest.raises(ValueError, match=r"shop\.customers is not the table shop\.orders"):
        granted_orders.renew(customers)
    assert granted_orders.renew(tables.load(runtime.catalog, "shop.orders")).name == "shop.orders"
    bare: Any = orders
    with pytest.raises(AttributeError):
        scans.scan_snapshot(bare, orders.snapshot_id)


def test_a_permit_is_for_the_tables_that_it_names(runtime: Runtime) -> None:
    orders, customers = (tables.load(runtime.catalog, name) for name in ("shop.orders", "shop.customers"))
    him = reader("READ ON TABLE shop.orders", "READ ON SERVICE churn")
    of_table, of_service = him.permit("TABLE", "shop.orders"), him.permit("SERVICE", "churn", ["shop.customers"])
    assert scans.read_snapshot(him.grant(orders, of_table), orders.snapshot_id).read_all().num_rows == 1
    assert him.grant(customers, of_service).permit.on == "SERVICE churn"
    for table, permit in ((customers, of_table), (orders, of_service)):
        with pytest.raises(Forbidden, match=f"him may not read {table.name} by a right on {permit.on}"):
            him.grant(table, permit)
    for kind, name in (("TABLE", "shop.customers"), ("SERVICE", "other")):
        with pytest.raises(Forbidden, match=f"READ on {kind} {name}"):
            him.permit(kind, name, ["shop.orders"])  # type: ignore[arg-type]
    with pytest.raises(Forbidden, match="churn"):
        reader("READ_ONLINE ON SERVICE churn", "USE ON SERVICE churn").permit("SERVICE", "churn")


def test_only_the_stores_own_tables_are_read_without_a_right(runtime: Runtime) -> None:
    rows = pa.schema([pa.field("k", pa.int64())])
    own = tables.create(runtime.catalog, grants_table(runtime.settings), rows)
    assert granted.system(own, runtime.settings).name == "registry.grants"
    for name in ("shop.orders", "registry2.grants", "registry.more.grants"):
        table = tables.create_if_absent(runtime.catalog, name, rows)
        with pytest.raises(ValueError, match="not one of the store's own tables"):
            granted.system(table, runtime.settings)


def test_a_principals_runtime_does_not_read_as_the_store(runtime: Runtime) -> None:
    his = runtime.for_reader(reader("READ ON TABLE shop.orders"))
    assert isinstance(runtime.operator, Operator)
    assert read_rows(his, "iceberg:shop.orders", []).num_rows == 1
    with pytest.raises(Forbidden, match=r"shop\.customers"):
        read_rows(his, "iceberg:shop.customers", [])
    with pytest.raises(Forbidden, match="rights of the store"):
        _ = his.operator
    source = Source("orders", table="shop.orders", timestamp="at")
    with pytest.raises(Forbidden, match="rights of the store"):
        open_source(his, source)
    assert open_source(his.as_operator(), source).granted is not None
    with pytest.raises(Forbidden):
        _ = his.for_requests().operator
