"""After any changes to a table, every remaining snapshot is read as it was written, compared with an oracle in plain Python."""

import contextlib
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.types import LongType

from featurestore.lakehouse import scans, tables, writes
from featurestore.lakehouse.table import Table
from tests.granting import grant
from tests.lakehouse.data import by_id, reader

# Columns a, b and c come, go and change places under the same names; k stays.
ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 3)),
    st.tuples(st.just("our append"), st.integers(0, 3)),
    st.tuples(st.just("overwrite"), st.integers(0, 2)),
    st.tuples(st.just("delete"), st.integers(0, 6)),
    st.tuples(st.just("add"), st.sampled_from("abc")),
    st.tuples(st.just("drop"), st.sampled_from("abc")),
    st.tuples(st.just("rename"), st.sampled_from(["ab", "bc", "ca"])),
)


class World:
    """A table, and what its rows must be at each snapshot."""

    def __init__(self, catalog: Catalog) -> None:
        catalog.create_namespace_if_not_exists("shop")
        self.table = Table(catalog.create_table(f"shop.t{uuid4().hex}", pa.schema([("k", pa.int64()), ("a", pa.int64())])))
        self.rows: list[dict[str, Any]] = []
        self.next = 0
        self.snapshots: dict[int, list[dict[str, Any]]] = {}
        self.appends: list[tuple[int | None, int, list[dict[str, Any]] | None]] = []

    def act(self, action: str, what: Any) -> None:
        columns = [field.name for field in self.table.iceberg.schema().fields]
        before = self.table.snapshot_id
        added: list[dict[str, Any]] | None = None
        if action in ("append", "our append"):
            added = self._new_rows(what, columns)
            rows = pa.Table.from_pylist(added, tables.arrow_schema(self.table))
            self.table.iceberg.append(rows) if action == "append" else writes.append(self.table, reader(rows), summary={})
            self.rows = self.rows + added
        elif action == "overwrite":
            # Over nothing it is an append, to Iceberg too.
            emptied, self.rows = not self.rows, self._new_rows(what, columns)
            added = self.rows if emptied else None
            self.table.iceberg.overwrite(pa.Table.from_pylist(self.rows, tables.arrow_schema(self.table)))
        elif action == "delete":
            if any(row["k"] == what for row in self.rows):
                self.table.iceberg.delete(f"k == {what}")
                self.rows = [row for row in self.rows if row["k"] != what]
        else:
            self._evolve(action, what, columns)
        after = self.table.snapshot_id
        if after is not None and after != before:
            self.snapshots[after] = self.rows
            self.appends.append((before, after, added))

    def _new_rows(self, count: int, columns: list[str]) -> list[dict[str, Any]]:
        made = []
        for _ in range(count):
            made.append({name: self.next % 7 if name == "k" else self.next * 10 + position for position, name in enumerate(columns)})
            self.next += 1
        return made

    def _evolve(self, action: str, what: str, columns: list[str]) -> None:
        with contextlib.ExitStack() as stack:
            if action == "add" and what not in columns:
                stack.enter_context(self.table.iceberg.update_schema()).add_column(what, LongType())
                self.rows = [{**row, what: None} for row in self.rows]
            elif action == "drop" and what in columns:
                stack.enter_context(self.table.iceberg.update_schema()).delete_column(what)
                self.rows = [{name: value for name, value in row.items() if name != what} for row in self.rows]
            elif action == "rename" and what[0] in columns and what[1] not in columns:
                stack.enter_context(self.table.iceberg.update_schema()).rename_column(*what)
                self.rows = [{what[1] if name == what[0] else name: value for name, value in row.items()} for row in self.rows]


def sort_rows(rows: list[dict[str, Any]]) -> list[Any]:
    return sorted((sorted(row.items()) for row in rows), key=repr)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, min_size=1, max_size=8))
@pytest.mark.filterwarnings("ignore:Delete operation did not match")
def test_every_snapshot_is_read_as_it_was(catalog: Catalog, actions: list[tuple[str, Any]]) -> None:
    world = World(catalog)
    for action in actions:
        world.act(*action)
    table = tables.load(catalog, world.table.name)
    for snapshot, rows in world.snapshots.items():
        assert sort_rows(by_id(scans.scan_snapshot(grant(table), snapshot))) == sort_rows(rows)
        assert sort_rows(scans.read_snapshot(grant(table), snapshot).read_all().to_pylist()) == sort_rows(rows)
    for before, after, added in world.appends:
        if before is None or before not in world.snapshots:
            continue
        changes = scans.read_changes(grant(table), before, after)
        assert changes.appended == (added is not None)
        if added is not None:
            assert sort_rows(by_id(changes.relation)) == sort_rows(added)


def test_the_oracle_can_fail(catalog: Catalog) -> None:
    world = World(catalog)
    world.act("append", 2)
    world.rows[0]["a"] += 1
    with pytest.raises(AssertionError):
        assert sort_rows(by_id(scans.scan_snapshot(grant(world.table), world.table.snapshot_id))) == sort_rows(world.rows)
