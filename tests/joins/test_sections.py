"""Logs read backwards in time by row groups: no relevant row is skipped, however files and row groups overlap."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.compiler.log_diff import DELETED
from featurestore.compiler.relations import Column, Extent, IcebergFiles
from featurestore.engine.session import Relation
from featurestore.joins.gather.row_groups import RowGroup
from featurestore.joins.gather.sections import Section, sections
from featurestore.joins.join import join
from featurestore.lakehouse.stored_files import StoredFiles
from featurestore.spines.spine import fit_rows, spine_in_memory
from tests.worlds import STAMP, load_source

SECOND = 1_000_000
TIMES = ("feature_timestamp", "created_timestamp")
KINDS = {"key": "BIGINT", "name": "VARCHAR", **dict.fromkeys(TIMES, "TIMESTAMP WITH TIME ZONE"), "value": "BIGINT", "b": "BIGINT"}
KINDS[DELETED] = "BOOLEAN"
ALL = tuple(Column(id, name, kind) for id, (name, kind) in enumerate(KINDS.items(), 1))
SCHEMA = pa.schema(
    [
        pa.field(name, kind, metadata={"PARQUET:field_id": str(id)})
        for id, (name, kind) in enumerate(
            zip(KINDS, [pa.int64(), pa.string(), STAMP, STAMP, pa.int64(), pa.int64(), pa.bool_()], strict=True), 1
        )
    ]
)

Row = tuple[int, int, int]
"""A key, its feature_timestamp, and how much later it was created; a tombstone where that is a multiple of three of some files."""
FILES = st.lists(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.integers(0, 9)), min_size=1, max_size=6), min_size=1, max_size=4),
    max_size=5,
)
"""Files of row groups of rows, in no order at all."""


def table(rows: Sequence[Row], first: int, unit: int, tombstones: bool = False) -> pa.Table:
    keys, times, delays = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    times, delays = times * unit, delays * unit
    numbers = range(first, first + len(rows))
    columns = [keys, [f"n{key}" for key in keys], pa.array(times, STAMP), pa.array(times + delays, STAMP), numbers, numbers]
    deleted = [delay % 3 == 2 or (None if delay else False) for _, _, delay in rows]
    found = pa.table([*columns, deleted], schema=SCHEMA)
    return found if tombstones else found.drop_columns([DELETED])


def write(folder: Path, files: Sequence[Sequence[Sequence[Row]]], unit: int = 1, tombstones: bool = False) -> StoredFiles:
    paths, extents, number = [], [], 0
    for place, groups in enumerate(files):
        paths.append(str(folder / f"{place}.parquet"))
        # Some files are from before the first tombstone.
        some = tombstones and place % 3 != 1
        with pq.ParquetWriter(paths[-1], table(groups[0], 0, unit, some).schema) as writer:
            for rows in groups:
                writer.write_table(table(rows, number, unit, some))
                number += len(rows)
        times = [time * unit for rows in groups for _, time, _ in rows]
        extents.append(Extent(len(times), min(times), max(times)))
    return iceberg_files(paths, extents, ALL if tombstones else ALL[:-1])


def iceberg_files(paths: Sequence[str], extents: Sequence[Extent], columns: Sequence[Column]) -> StoredFiles:
    def relation(chosen: Collection[str]) -> IcebergFiles:
        return IcebergFiles(tuple(chosen), tuple(columns), rows=sum(extent.rows for extent in extents))

    return StoredFiles(tuple(paths), tuple(extents), tuple(columns), relation)


def row_groups_of(section: Section) -> set[tuple[str, int]]:
    return {(group.path, group.number) for group in section.groups}


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(FILES, st.none() | st.integers(0, 40), st.integers(-5, 50), st.integers(0, 20), st.integers(1, 20))
def test_sections_have_all_rows_of_their_time_and_no_time_is_left_out(
    files: list[list[list[Row]]], lower: int | None, first: int, length: int, most: int
) -> None:
    with TemporaryDirectory() as folder:
        upper = first + length
        log = write(Path(folder), files)
        before: int | None = None
        for section in sections(log, lower, upper, first, most):
            assert before is None or section.since is None or section.since < before
            there = row_groups_of(section)
            for path, groups in zip(log.paths, files, strict=True):
                for number, rows in enumerate(groups):
                    times = [time for _, time, _ in rows]
                    near = max(times) >= (lower if lower is not None else 0) and min(times) <= upper
                    matters = any(time >= (section.since or -100) and (before is None or time < before) for time in times)
                    assert not (near and matters) or (path, number) in there
            # What a spine's own time needs comes at once.
            assert before is not None or section.since is None or section.since <= max(first, *(g.extent.upper_us for g in section.groups))
            before = section.since
        assert before is None


def test_sections_open_files_only_when_their_time_has_come(tmp_path: Path) -> None:
    log = write(tmp_path, [[[(key, day, 0) for key in range(5)] for day in range(month, month + 10)] for month in (0, 10, 20, 30)])
    read = sections(log, None, 39, 37, 1000)
    assert [group.extent.lower_us for group in next(read).groups] == [37, 38, 39]
    for path in log.paths[:3]:
        Path(path).unlink()
    assert [group.extent.lower_us for group in next(read).groups] == [34, 35, 36]
    later = next(read)
    assert [(group.footer is None, group.extent.lower_us) for group in later.groups] == [
        (True, 20),
        *((False, day) for day in range(30, 34)),
    ]
    assert later.since == 20
    assert [section.rows for section in sections(log, 32, 39, 37, 1000)] == [15, 15, 10]
    assert [section.rows for section in sections(log, 32, 39, 37, 5)][:3] == [15, 5, 5]
    assert [section.rows for section in sections(log, None, 99, 50, 1000)][:2] == [5, 5]
    assert list(sections(iceberg_files((), (), ALL), None, 39, 37, 1000)) == []


def test_keys_that_a_section_cannot_have_are_told_from_its_bounds(tmp_path: Path) -> None:
    log = write(tmp_path, [[[(3, 1, 0), (5, 2, 0)], [(7, 3, 0)]]])
    (section,) = sections(log, None, 9, 0, 1000)
    numbers = pa.chunked_array([[2, 3, 4], [7, 8, None]])
    names = pa.chunked_array([["n2", "n3", "n4"], ["n7", "n8", None]])
    assert section.may_have(["key"], [numbers]).tolist() == [False, True, True, True, False, False]
    assert section.may_have(["key", "name"], [numbers, names]).tolist() == [False, True, True, True, False, False]
    assert section.may_have(["name"], [names.take(pa.array([3, 0, 1]))]).tolist() == [True, False, True]
    unread = Section((RowGroup("elsewhere", None, 0, Extent(1, 0, 0)), *section.groups), None)
    assert unread.may_have(["key"], [numbers]).all()


@dataclass(frozen=True)
class Files:
    """A log in these files."""

    stored: StoredFiles
    corrected: bool
    deletions: bool = False
    policy: None = None
    through: int | None = None

    def files(self, columns: Sequence[str], lower: int | None, upper: int | None) -> StoredFiles:
        chosen = [column for name in columns for column in ALL if column.name == name]
        return iceberg_files(self.stored.paths, self.stored.extents, chosen)

    def rows(self, columns: Sequence[str], lower: int | None, upper: int | None) -> Relation:
        return self.files(columns, lower, upper).relation(self.stored.paths)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(tmp_path_factory.mktemp("sections")) as opened:
        load_source(opened, "raw.values", table([(0, 0, 0)], 0, 1).rename_columns(["key", "name", "at", "made", "value", "b"]))
        source = Source("values", table="raw.values", timestamp="at", created="made")
        thing, named = Entity("thing", keys="key"), Entity("named", keys=["name", "key"])
        endless = FeatureView("endless", entity=thing, source=source, features=["value"])
        brief = FeatureView("brief", entity=named, source=source, features=["b"], ttl="7s")
        opened.apply([FeatureService("both", features=[endless, brief])])
        yield opened


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    FILES,
    st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 55)), min_size=1, max_size=30),
    st.sampled_from(["now", "then"]),
    st.integers(0, 30),
    st.booleans(),
)
# The tombstone of a row that lies in both sections is in the newer one alone.
@example([[[(0, 3, 0), (0, 1, 0)]], [[(0, 2, 0)]], [[(0, 3, 2)]]], [(0, 40)], "now", 0, True)
def test_gathering_by_sections_gives_what_the_engine_does(
    store: FeatureStore, files: list[list[list[Row]]], asked: list[tuple[int, int]], known: str, begin: int, tombstones: bool
) -> None:
    seen: set[Row] = set()
    # One version of a row at a moment: which of two that are alike in all times is seen is not for files to say.
    once = [[[row for row in rows if not (row in seen or seen.add(row))] for rows in groups] for groups in files]  # type: ignore[func-returns-value]
    left = [kept for groups in once if (kept := [rows for rows in groups if rows])]
    asked = [(key, max(time, begin)) for key, time in asked]
    keys, times = [key for key, _ in asked], np.array([time * SECOND for _, time in asked], np.int64)
    spine = pa.table({"key": keys, "name": [f"n{key}" for key in keys], "t": pa.array(times, STAMP)})
    plan = store.backend.service_plan("both")
    with TemporaryDirectory() as folder, store._runtime.engine.session() as session:
        log = Files(write(Path(folder), left, SECOND, tombstones), corrected=True, deletions=tombstones)
        logs = {use.table: log for use in plan.uses}
        results = []
        # In memory, in buckets, of which one needs more than fits so that it is cut by time, and in the engine.
        for room in (1 << 30, 3000, 1, 0):
            joined = join(session, plan, spine_in_memory(fit_rows(spine, plan, "t"), plan), logs, known, room=room)
            results.append((pa.Table.from_batches(joined.batches, joined.schema), joined.facts))
    for result in results[1:]:
        assert (result[0].to_pylist(), result[1]) == (results[0][0].to_pylist(), results[0][1])
    seen_by = [visible_row(left, key, time, known, tombstones, ttl) for key, time in asked for ttl in (None, 7)]
    assert [value for row in results[0][0].to_pylist() for value in (row["value"], row["b"])] == seen_by


def visible_row(files: list[list[list[Row]]], key: int, time: int, known: str, tombstones: bool, ttl: int | None) -> int | None:
    """The number of the row that a key sees at a time, by the rule: of each moment the latest version counts, unless it is a tombstone."""
    latest: dict[int, tuple[int, int, bool]] = {}
    number = -1
    for place, groups in enumerate(files):
        for own, feature, delay in (row for rows in groups for row in rows):
            number += 1
            if own == key and feature <= time and (known == "now" or feature + delay <= time):
                gone = tombstones and place % 3 != 1 and delay % 3 == 2
                latest[feature] = max(latest.get(feature, (-1, 0, False)), (delay, number, gone))
    living = [(feature, version[1]) for feature, version in latest.items() if not version[2]]
    feature, number = max(living, default=(-100, -1))
    return None if number < 0 or (ttl is not None and time - feature > ttl) else number
