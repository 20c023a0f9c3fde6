"""After any publishes in any order, a store has the newest row of each key, compared with a dict."""

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.online import rows as rows_module
from featurestore.online.store import Cursor, OnlineStore, Row
from tests.online.worlds import TIME, table
from tests.thorough import choose

NAMES = (f"table_{number}" for number in itertools.count())
# Few values, so that many rows meet.
TIMES = st.integers(-1, 1)
ROWS = st.lists(st.tuples(st.integers(-1, 2) | st.none(), TIMES, TIMES | st.none(), st.sampled_from([None, 1, 2, 300])), max_size=12)
REMOVED = st.lists(st.integers(-1, 2) | st.none(), max_size=3)
STEPS = st.lists(st.tuples(st.sampled_from(["publish", "publish", "publish", "remove", "replace", "drop"]), ROWS, REMOVED), max_size=6)
# The store outlives an example: each one takes a table of its own.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=choose(30, thorough=300))

Model = dict[int, Row]


def version(row: Row) -> tuple[int, float]:
    return row.feature_timestamp, float("-inf") if row.created_timestamp is None else row.created_timestamp


def bring_in(model: Model, rows: list[tuple[Any, ...]]) -> None:
    """The rule, in plain Python."""
    for key, feature, created, value in rows:
        row = Row(feature, created, (value,))
        if key is not None and (key not in model or version(row) >= version(model[key])):
            model[key] = row


@pytest.fixture(params=[3, 131_072], ids=["many parts", "one part"])
def _part_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small publishes otherwise fit in one part, where the newest rows are found before the store is looked at."""
    monkeypatch.setattr(rows_module, "_CHUNK_ROWS", request.param)


@pytest.mark.slow
@pytest.mark.usefixtures("_part_rows")
@SHARED
@given(steps=STEPS)
def test_a_store_holds_what_a_dict_holds(store: OnlineStore, steps: list[tuple[str, list[tuple[Any, ...]], list[int | None]]]) -> None:
    name, model = next(NAMES), Model()
    cursor: Cursor | None = None
    for number, (action, rows, keys) in enumerate(steps):
        if action == "drop":
            store.drop(name)
            model, cursor = {}, None
        else:
            cursor = Cursor(number, None)
            model = {} if action == "replace" else model
            removed = pa.table({"customer_id": pa.array(keys, pa.int64())}) if action == "remove" else None
            for key in keys if action == "remove" else ():
                model.pop(key, None)  # type: ignore[arg-type]
            before = dict(model)
            bring_in(model, rows)
            written = store.publish(name, table(rows), keys=["customer_id"], cursor=cursor, replace=action == "replace", removed=removed)
            assert written >= sum(before.get(key) != row for key, row in model.items())
        [read_rows] = store.read([(name, [(key,) for key in range(-1, 3)])])
        assert read_rows.rows == [model.get(key) for key in range(-1, 3)]
        assert read_rows.cursor == cursor


@pytest.mark.slow
@SHARED
@given(data=st.data(), rows=ROWS)
def test_the_order_of_publishes_does_not_matter(store: OnlineStore, data: st.DataObject, rows: list[tuple[Any, ...]]) -> None:
    distinct = list({row[:3]: row for row in rows}.values())
    model = Model()
    bring_in(model, distinct)
    shuffled = data.draw(st.permutations(distinct))
    cut = data.draw(st.integers(0, len(shuffled)))
    name = next(NAMES)
    for part in (shuffled[:cut], shuffled[cut:]):
        store.publish(name, table(part), keys=["customer_id"], cursor=Cursor(1, 1))
    [read_rows] = store.read([(name, [(key,) for key in range(-1, 3)])])
    assert read_rows.rows == [model.get(key) for key in range(-1, 3)]


def test_a_large_publish_in_any_order_holds_what_a_dict_holds(store: OnlineStore) -> None:
    random = np.random.default_rng(5)
    count, keys = 150_000, 20_000
    columns = {
        name: random.integers(0, limit, count) for name, limit in (("key", keys), ("feature", 1000), ("created", 1000), ("orders", 9))
    }
    rows = pa.table(
        {
            "customer_id": columns["key"],
            "feature_timestamp": pa.array(columns["feature"], TIME),
            "created_timestamp": pa.array(columns["created"], TIME),
            "orders": columns["orders"],
        }
    )
    model = Model()
    bring_in(model, list(zip(*(column.tolist() for column in columns.values()), strict=True)))
    store.publish("v", rows, keys=["customer_id"], cursor=Cursor(1, 1))
    [read_rows] = store.read([("v", [(key,) for key in range(keys)])])
    assert read_rows.rows == [model.get(key) for key in range(keys)]
