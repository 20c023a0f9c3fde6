"""The handle of a table: what it shows, when it moves, and that no other package reaches through it."""

import ast
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

import featurestore
from featurestore.errors import Conflict
from featurestore.lakehouse import tables, writes
from featurestore.lakehouse.table import FORMAT, FORMAT_PROPERTY
from tests.lakehouse.data import EVENTS, events, reader

ROOT = Path(featurestore.__file__).parent


def reaches_through(source: str) -> list[int]:
    """The lines that take pyiceberg's table out of a handle."""
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    return [node.lineno for node in attributes if node.attr == "iceberg"]


def test_other_packages_use_only_what_the_handle_shows() -> None:
    outside = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] != "lakehouse"]
    assert len(outside) > 100
    assert [(path, lines) for path in outside if (lines := reaches_through(path.read_text()))] == []


def test_reaching_through_is_noticed() -> None:
    assert reaches_through("def f(table):\n    return table.iceberg.schema()\n") == [2]


def test_a_new_table(catalog: Catalog) -> None:
    table = tables.create(catalog, "features.f", EVENTS, properties={"owner": "growth"})
    assert (table.name, table.properties["owner"]) == ("features.f", "growth")
    assert (table.snapshot_id, table.snapshot_ids, table.schema_id, table.schema_ids) == (None, [], 0, [0])
    assert table.uuid == tables.load(catalog, "features.f").uuid


def test_a_commit_moves_its_own_handle_only(catalog: Catalog) -> None:
    table, other = tables.create(catalog, "features.f", EVENTS), tables.load(catalog, "features.f")
    first = writes.append(table, reader(events((1, "2026-01-01", "a"))), summary={})
    second = writes.append(table, reader(events((2, "2026-01-01", "b"))), summary={})
    assert (table.snapshot_id, table.snapshot_ids) == (second, [first, second])
    assert (other.snapshot_id, other.snapshot_ids) == (None, [])
    assert table.metadata_location != other.metadata_location
    assert table.updated_us >= other.updated_us > 1_700_000_000_000_000
    other.show(table)
    assert (other.snapshot_ids, other.metadata_location) == (table.snapshot_ids, table.metadata_location)


def test_the_columns_of_a_snapshot_stay(catalog: Catalog) -> None:
    table = tables.create(catalog, "features.f", EVENTS)
    first = writes.append(table, reader(events((1, "2026-01-01", "a"))), summary={})
    tables.add_column(table, "added", pa.int64())
    assert (table.schema_id, table.schema_ids) == (1, [0, 1])
    assert (tables.has_column(table, None, "added"), tables.has_column(table, first, "added")) == (True, False)
    assert (tables.schema_id_of(table, None), tables.schema_id_of(table, first)) == (1, 0)


def test_a_table_created_again_has_another_uuid(catalog: Catalog) -> None:
    uuid = tables.create(catalog, "features.f", EVENTS).uuid
    catalog.drop_table("features.f")
    assert tables.create(catalog, "features.f", EVENTS).uuid != uuid


def test_a_table_of_a_newer_release_is_refused_before_it_is_read_or_changed(catalog: Catalog) -> None:
    table = tables.create(catalog, "features.f", EVENTS)
    assert table.properties[FORMAT_PROPERTY] == str(FORMAT)
    newer = catalog.load_table("features.f")
    with newer.transaction() as transaction:
        transaction.set_properties({FORMAT_PROPERTY: str(FORMAT + 1)})
    uses: list[Callable[[], object]] = [
        lambda: tables.load(catalog, "features.f"),
        lambda: tables.find(catalog, "features.f"),
        lambda: tables.create_if_absent(catalog, "features.f", EVENTS),
    ]
    for use in uses:
        with pytest.raises(Conflict, match=rf"features\.f has format {FORMAT + 1}, of a newer release of featurestore"):
            use()
    assert catalog.load_table("features.f").metadata_location == newer.metadata_location


def test_a_table_without_a_format_is_of_before_it_was_recorded(catalog: Catalog) -> None:
    tables.create(catalog, "features.f", EVENTS)
    with catalog.load_table("features.f").transaction() as transaction:
        transaction.remove_properties(FORMAT_PROPERTY)
    assert tables.load(catalog, "features.f").snapshot_id is None
