"""Lists of every type as features: values are unchanged in training sets and online."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import DefinitionError
from featurestore.joins.join import join
from featurestore.records.pinned import pin
from featurestore.spines.spine import fit_rows, spine_in_memory
from tests.worlds import STAMP, load_source

AT = datetime(2026, 3, 1, tzinfo=UTC)
TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "decimals": (pa.decimal128(10, 2), [Decimal("1.50"), None, Decimal("-0.01")]),
    "wide_decimals": (pa.decimal128(38, 10), [Decimal("1234567890123456789012345678.0123456789")]),
    "doubles": (pa.float64(), [-0.0, 1.5, None, math.inf]),
    "longs": (pa.int64(), [2**63 - 1, None]),
    "texts": (pa.string(), ["", "ä", None]),
    "dates": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "times": (STAMP, [datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]),
    "empty": (pa.decimal128(5, 1), []),
}


def open_store(home: Path) -> FeatureStore:
    store = FeatureStore(settings=Settings(home=home))
    lists = {name: pa.array([values], pa.list_(kind)) for name, (kind, values) in TYPES.items()}
    single = pa.array([Decimal("2.25")], pa.decimal128(10, 2))
    load_source(store, "raw.s", pa.table({"k": [1], "at": pa.array([AT], STAMP), "price": single, **lists}))
    return store


@pytest.mark.slow
def test_lists_in_a_row_view(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        source = Source("s", table="raw.s", timestamp="at")
        view = FeatureView("v", entity=Entity("e", keys="k"), source=source, features=list(TYPES))
        store.apply([FeatureService("svc", features=[view])])
        store.materialize()
        expected = {name: values for name, (_, values) in TYPES.items()}
        made = store.training_set("svc", [{"k": 1, "t": "2026-03-02"}], "t").to_arrow().select(list(TYPES)).to_pylist()
        assert made == [expected]
        assert math.copysign(1, made[0]["doubles"][0]) == -1
        online = store.online_features("svc", [{"k": 1}])
        assert dict(zip(online.features, online.rows[0], strict=True)) == expected
        assert online.to_arrow().to_pylist() == [expected]


def test_the_last_decimals(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        source, features = Source("s", table="raw.s", timestamp="at"), {"last": agg.last_n("price", n=2, over="90d")}
        view = FeatureView("v", entity=Entity("e", keys="k"), source=source, every="1d", features=features)
        store.apply([FeatureService("svc", features=[view])])
        store.materialize(end="2026-03-05")
        assert store.point_in_time("svc", [{"k": 1, "t": "2026-03-03"}], "t").column("last_90d").to_pylist() == [[Decimal("2.25")]]
        assert store.online_features("svc", [{"k": 1}]).rows == (([Decimal("2.25")],),)


@pytest.mark.parametrize("column", ["decimals", "longs"])
def test_lists_are_no_numbers(tmp_path: Path, column: str) -> None:
    with open_store(tmp_path) as store:
        source = Source("s", table="raw.s", timestamp="at")
        view = FeatureView("v", entity=Entity("e", keys="k"), source=source, every="1d", features={"a": agg.sum(column, over="7d")})
        with pytest.raises(DefinitionError, match="takes numbers"):
            store.plan([view])


@pytest.mark.slow
@pytest.mark.parametrize("created", [None, "known"])
def test_zeros_keep_their_signs_in_every_plan(tmp_path: Path, created: str | None) -> None:
    """Alone and in lists; where a key has one row or several, versions of them, and few or many spine rows."""
    days = [1, 2, 2, 1, 3]
    source_rows = pa.table(
        {
            "k": [1, 1, 1, 2, 3],
            "at": pa.array([AT.replace(day=day) for day in days], STAMP),
            "known": pa.array([AT.replace(day=day + place) for place, day in enumerate(days)], STAMP),
            "x": [7.0, 1.0, -0.0, -0.0, 0.0],
            "f": pa.array([1.0, 2.0, -0.0, -0.0, 0.0], pa.float32()),
            "xs": [[1.0], [0.0], [-0.0, 0.0, None], [-0.0], [0.0]],
        }
    )
    if created is None:
        source_rows = source_rows.filter(pa.array([True, False, True, True, True]))
    expected = [(-0.0, -0.0, [-0.0, 0.0, None]), (-0.0, -0.0, [-0.0]), (0.0, 0.0, [0.0])]
    with FeatureStore(settings=Settings(home=tmp_path)) as store:
        table = load_source(store, "raw.z", source_rows)
        source = Source("z", table="raw.z", timestamp="at", created=created)
        view = FeatureView("z", entity=Entity("e", keys="k"), source=source, features=["x", "f", "xs"])
        store.apply([FeatureService("svc", features=[view])])
        store.materialize()
        for corrections in (1, 0):
            found = store.online_features("svc", [{"k": key} for key in (1, 2, 3)]).rows
            assert repr(found) == repr(tuple(expected))
            plan = store.backend.service_plan("svc")
            for known in ("now", "then"):
                for many in (1, 100):
                    at = "2026-12-31" if known == "then" else "2026-03-20"
                    spine = [{"k": key, "t": at} for key in (1, 2, 3)] * many
                    rows = fit_rows(pa.table({"k": [row["k"] for row in spine], "t": [row["t"] for row in spine]}), plan, "t")
                    for room in (1 << 30, 0):
                        with store._runtime.engine.session() as session:
                            joined = join(session, plan, spine_in_memory(rows, plan), pin(store._runtime, plan), known, room=room)
                            said = [tuple(row[name] for name in ("x", "f", "xs")) for batch in joined.batches for row in batch.to_pylist()]
                        assert repr(said) == repr(expected * many), (known, many, room)
            # A change of sign alone is a change, and so is a row that goes.
            table.overwrite(
                pa.concat_tables([source_rows.slice(0, source_rows.num_rows - 1), flip_zeros(source_rows.slice(source_rows.num_rows - 1))])
            )
            (run,) = store.materialize()
            assert run.corrections == corrections
            expected[2] = (-0.0, -0.0, [-0.0])


def flip_zeros(rows: pa.Table) -> pa.Table:
    """Zeros with the other sign."""
    columns = {"x": [-0.0], "f": pa.array([-0.0], pa.float32()), "xs": [[-0.0]]}
    return pa.table({name: columns.get(name, rows.column(name)) for name in rows.column_names}, rows.schema)
