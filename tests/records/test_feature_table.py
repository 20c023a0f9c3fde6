"""The state of a feature table: written to its properties and read back, also from tables of early releases."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.lakehouse import tables, writes
from featurestore.records import feature_table
from featurestore.records.feature_table import State

MICROSECONDS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
NAMES = st.text(min_size=1, max_size=8)
COLUMNS = st.dictionaries(NAMES, st.dictionaries(NAMES, NAMES, max_size=2), max_size=2)


@st.composite
def states(draw: st.DrawFn) -> State:
    """States as runs write them: tables whose columns are known are pinned at a schema, others at a snapshot or a file state."""
    columns = draw(COLUMNS)
    files = draw(st.dictionaries(NAMES.filter(lambda name: name not in columns), NAMES, max_size=2))
    pins = {name: f"{draw(st.integers(1, 2**63 - 1))}@{draw(st.integers(0, 99))}" for name in columns}
    since, through, newest, ran = draw(st.tuples(*[st.none() | MICROSECONDS] * 4))
    types = draw(st.dictionaries(NAMES, NAMES, max_size=2))
    return State(since, through, {**pins, **files}, draw(st.integers(0, 1 << 62)), types, columns, newest, ran)


@given(state=states())
def test_a_state_is_read_as_it_was_written(state: State) -> None:
    assert feature_table.state_of(state.to_properties()) == state


def test_a_table_of_an_early_release_has_no_schemas() -> None:
    written = {feature_table.THROUGH: "2026-01-01T00:00:00Z", feature_table.SOURCES: '{"raw.s": "123"}'}
    state = feature_table.state_of(written)
    assert (state.through, state.sources, state.snapshots) == (1_767_225_600_000_000, {"raw.s": "123"}, {"raw.s": "123"})
    assert (state.since, state.columns, state.newest, state.ran) == (None, {}, None, None)
    assert feature_table.state_of({}) == State()


def test_the_current_state_is_that_of_the_table_and_older_ones_those_of_their_snapshots(store: FeatureStore) -> None:
    table = tables.create(store.catalog, "features.f", pa.schema([("x", pa.int64())]))
    snapshots = []
    for through in (1_000_000, 2_000_000):
        properties = State(through=through).to_properties()
        snapshots.append(writes.append(table, pa.table({"x": [through]}).to_reader(), summary=properties, properties=properties))
    assert [feature_table.state_at(table, snapshot).through for snapshot in (None, *snapshots)] == [None, 1_000_000, 2_000_000]
    # A run without new rows advances the watermark without a snapshot.
    tables.set_properties(table, State(through=3_000_000).to_properties())
    assert [feature_table.state_at(table, snapshot).through for snapshot in snapshots] == [1_000_000, 3_000_000]
