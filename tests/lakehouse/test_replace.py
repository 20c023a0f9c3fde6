"""Replacing the rows of a table creates one tagged snapshot, also with concurrent builds."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from featurestore.compiler.relations import IcebergFiles
from featurestore.errors import Conflict, RequestError, TypeMismatch
from featurestore.lakehouse import scans, tables, tags
from tests.granting import grant
from tests.lakehouse.data import by_id, files, reader, replace_rows
from tests.lakehouse.interference import open_interfered

NAME = "training_sets.churn"


def build(catalog: Catalog, rows: dict[str, Any] | pa.Table, tag: str, **summary: str) -> int:
    return replace_rows(catalog, NAME, reader(rows), summary=summary, tag=tag)


def content(catalog: Catalog, snapshot: int) -> dict[str, list[Any]]:
    """Columns in order, rows in order; read both ways where both can."""
    table = tables.load(catalog, NAME)
    rows = scans.read_snapshot(grant(table), snapshot).read_all()
    scanned = scans.scan_snapshot(grant(table), snapshot)
    if isinstance(scanned, IcebergFiles):
        assert [column.name for column in scanned.columns] == rows.column_names
        assert by_id(scanned) == rows.to_pylist()
    else:
        assert scanned.read_all() == rows
    return dict(rows.to_pydict())


@pytest.mark.slow
def test_builds_follow_one_another_and_all_stay_readable(both: Catalog) -> None:
    builds: list[dict[str, Any]] = [
        {"k": [2, 1, 3], "label": [True, None, False]},
        {"label": [False], "k": [9], "new": ["x"]},
        {"k": ["now a string"], "label": [None]},
        {"k": [1], "label": [True]},
    ]
    made = [build(both, pa.table(rows).cast(_schema_of(rows)), f"t{n}", n=str(n)) for n, rows in enumerate(builds)]
    table = tables.load(both, NAME)
    for number, (snapshot, rows) in enumerate(zip(made, builds, strict=True)):
        assert content(both, snapshot) == rows
        assert list(content(both, snapshot)) == list(rows)
        assert tables.summary(table, snapshot)["n"] == str(number)
    assert tags.tags(table) == {f"t{n}": snapshot for n, snapshot in enumerate(made)}
    assert table.snapshot_ids == made
    assert table.iceberg.scan().to_arrow().to_pydict() == builds[-1]
    ids = [{field.name: field.field_id for field in tables.schema_of(table, snapshot).fields} for snapshot in made]
    assert ids[0] == ids[3]
    assert ids[1] == {"label": 2, "k": 1, "new": 3}
    assert ids[2] == {"k": 4, "label": 2}


def _schema_of(rows: dict[str, Any]) -> pa.Schema:
    kinds = {"k": pa.string() if isinstance(rows["k"][0], str) else pa.int64(), "label": pa.bool_(), "new": pa.string()}
    return pa.schema([(name, kinds[name]) for name in rows])


def test_no_rows_are_still_a_snapshot(both: Catalog) -> None:
    empty = pa.table({"k": pa.array([], pa.int64())})
    first = build(both, empty, "a")
    second = build(both, {"k": [1]}, "b")
    third = build(both, empty, "c")
    assert [content(both, snapshot)["k"] for snapshot in (first, second, third)] == [[], [1], []]
    assert tags.tags(tables.load(both, NAME)) == {"a": first, "b": second, "c": third}


def test_summary_is_asked_for_when_all_rows_are_written(catalog: Catalog) -> None:
    seen: list[int] = []

    def batches() -> Any:
        for number in range(3):
            seen.append(number)
            yield pa.record_batch({"k": [number]})

    stream = pa.RecordBatchReader.from_batches(pa.schema([("k", pa.int64())]), batches())
    snapshot = replace_rows(catalog, NAME, stream, summary=lambda: {"digest": str(sum(seen))}, tag="a")
    assert tables.summary(tables.load(catalog, NAME), snapshot)["digest"] == "3"


def test_a_tag_is_never_taken_over(both: Catalog) -> None:
    first = build(both, {"k": [1]}, "a")
    with pytest.raises(Conflict, match="has a tag 'a' already"):
        build(both, {"k": [2]}, "a")
    table = tables.load(both, NAME)
    assert tags.tags(table) == {"a": first}
    assert len(files(table)) == 1


def test_two_builders_with_other_columns_each_get_their_snapshot(both: Catalog) -> None:
    build(both, {"k": [0]}, "start")
    with open_interfered(both) as slow:
        made: list[int] = []

        def other() -> dict[str, str]:
            # Between the rows of the slow builder and its commit, and once more inside of the commit.
            made.append(build(both, {"k": [1], "mine": ["other"]}, "other"))
            slow.before = lambda: made.append(build(both, {"k": [2.5]}, "third"))
            return {"by": "slow"}

        mine = replace_rows(slow, NAME, reader({"k": [3], "yours": [1.5]}), summary=other, tag="slow")
    assert content(both, mine) == {"k": [3], "yours": [1.5]}
    assert content(both, made[0]) == {"k": [1], "mine": ["other"]}
    assert content(both, made[1]) == {"k": [2.5]}
    table = tables.load(both, NAME)
    assert table.snapshot_id == mine
    assert tags.tags(table).keys() == {"start", "other", "third", "slow"}
    assert len(files(table)) == 4


def test_the_same_new_columns_at_the_same_time(both: Catalog) -> None:
    build(both, {"k": [0]}, "start")
    with open_interfered(both) as slow:
        slow.before = lambda: build(both, {"k": [1], "x": [1]}, "other")
        mine = replace_rows(slow, NAME, reader({"x": [7], "k": [3]}), summary={}, tag="slow")
    assert content(both, mine) == {"x": [7], "k": [3]}
    ids = [field.field_id for schema in tables.load(both, NAME).iceberg.schemas().values() for field in schema.fields if field.name == "x"]
    assert len(set(ids)) == 1
    assert len(tables.load(both, NAME).iceberg.schemas()) == 3


def test_failures_leave_no_file(catalog: Catalog) -> None:
    build(catalog, {"k": [1]}, "a")
    table = tables.load(catalog, NAME)

    def broken() -> dict[str, str]:
        raise ArithmeticError("no digest")

    with pytest.raises(ArithmeticError):
        replace_rows(catalog, NAME, reader({"k": [2]}), summary=broken, tag="b")
    with pytest.raises(TypeMismatch, match="'span'"):
        build(catalog, {"span": pa.array([1], pa.duration("s"))}, "b")
    with pytest.raises(RequestError, match="'k' appears twice"):
        build(catalog, pa.table([[1], [2]], names=["k", "k"]), "b")
    assert len(files(table)) == 1
    assert tables.load(catalog, NAME).metadata_location == table.metadata_location


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    ["a.b", "a", "A", "a b", 'q"', "it's", "ü", "U\u0308", "", "list.element", "l.list.element", "__fs_month", "1", "*", "select"]
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=1, max_size=5, unique=True), as_list=st.booleans())
def test_any_column_name_is_legal(catalog: Catalog, names: list[str], as_list: bool) -> None:
    rows = {name: [[number], None] if as_list else [number, None] for number, name in enumerate(names)}
    if tables.exists(catalog, NAME):
        catalog.drop_table(NAME)
    stored = content(catalog, build(catalog, rows, "t"))
    assert stored == rows
    assert list(stored) == names
