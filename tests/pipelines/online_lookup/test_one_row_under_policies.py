"""A row of numbers that is looked up alone is computed in a way of its own: its bytes are those that SQL makes of it."""

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Source
from featurestore.compiler.row_policy import RowPolicy
from featurestore.online.cut_rows import RowCutter
from featurestore.pipelines.online_lookup import lookup
from featurestore.pipelines.online_lookup.encoded_policies import _EncodedPolicy
from featurestore.records.serving_version import bind_policies
from featurestore.values import times
from tests import shop
from tests.pipelines.online_lookup.test_row_policies import bytes_are
from tests.worlds import load_source

COUNTS = [None, 0, -1, 2**63 - 1, 7]
AMOUNTS = [None, 0.5, -0.0, float("nan"), float("inf"), 1e300]
MASKS: list[dict[str, str]] = [
    {},
    {"amount": "amount * 2"},
    {"count": "NULL"},
    {"is_new": "NULL", "amount": "0.0"},
    {"count": "count // 10"},
]
MASKS += [{"amount": "count / 3"}, {"is_new": "count > 3 AND amount < 1"}, {"count": "count + 1"}]
FILTERS = [None, "amount > 0", "is_new", "count <> 7"]


def test_the_bytes_of_one_row_are_those_of_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(itertools.product(COUNTS, AMOUNTS, [None, True, False]))
    keys = range(len(values))
    columns: list[Any] = list(zip(*values, strict=True))
    at = pa.array([shop.days(1)] * len(keys), shop.TIME)
    rows = {"key": pa.array(keys), "at": at, "count": pa.array(columns[0], pa.int64()), "amount": pa.array(columns[1], pa.float64())}
    table = pa.table({**rows, "is_new": pa.array(columns[2], pa.bool_()), "last": pa.array(keys)})
    alone: list[bool] = []
    show_one = _EncodedPolicy._show_one

    def show_and_note(self: _EncodedPolicy, cutter: RowCutter, row: bytes) -> Any:
        alone.append((shown := show_one(self, cutter, row)) is not None)
        return shown

    monkeypatch.setattr(_EncodedPolicy, "_show_one", show_and_note)
    with FeatureStore(home=tmp_path) as store:
        load_source(store, "t.numbers", table)
        source = Source("numbers", table="t.numbers", timestamp="at")
        view = FeatureView("numbers", Entity("thing", keys="key"), source, features=["count", "amount", "is_new", "last"])
        store.apply([FeatureService("numbers", features=[view])])
        store.materialize()
        runtime, plan, tables = store.backend.runtime, store.backend.service_plan("numbers"), store._online_tables
        types = store.backend.services._column_types()
        for place, (masks, rule) in enumerate(itertools.product(MASKS, FILTERS)):
            if not masks and rule is None:
                continue
            policies = bind_policies({"numbers_v1": RowPolicy.of(masks, rule)}, types)
            for key in (*keys[place % 17 :: 17], len(keys)):
                sent, now = [{"key": key}], times.now()
                shown = lookup.lookup(runtime, plan, sent, None, tables, now, row_policies=policies)
                bytes_are(store, plan, policies, sent, shown.to_json(), now)
    assert alone.count(True) > len(alone) / 2 > 100
