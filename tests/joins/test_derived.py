"""Derived features: types are checked by the plan, and values are the same online and offline."""

import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Entity, Expression, FeatureService, FeatureStore, FeatureView, Source, agg, check
from featurestore.errors import DefinitionError, RequestError
from tests.worlds import STAMP, load_source, on_a_store

AT = datetime(2026, 3, 1, tzinfo=UTC)
VIEW = FeatureView("va", entity=Entity("e", keys="k"), source=Source("a", table="raw.a", timestamp="t"), features=["v", "s"])
SERVICE = FeatureService(
    "svc",
    features=[VIEW],
    request={"n": "bigint", "m": "bigint", "x": "double", "y": "double", "d": "decimal(9,2)"},
    derived={
        "bias": "1.0",
        "tau": "2 * pi()",
        "whole": "n // m",
        "rest": "n % m",
        "rest_of_decimals": "d % m",
        "whole_of_doubles": "x // y",
        "rest_of_doubles": "x % y",
        "nested": "(n // m) % (m // n) + v % m",
        "share": "n / m",
    },
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    with FeatureStore(home=tmp_path_factory.mktemp("derived") / "home") as store:
        rows = {"k": pa.array([1, 2], pa.int64()), "t": pa.array([AT, AT], STAMP), "v": pa.array([1, 2], pa.int64()), "s": ["x", "y"]}
        load_source(store, "raw.a", pa.table(rows))
        store.apply([SERVICE])
        store.materialize(end="2026-03-20")
        yield store


def bits(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return value


def both(store: FeatureStore, request: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The derived features of as many entities, online and offline, which are the same."""
    keys = [{"k": 1 + index % 2} for index in range(len(request))]
    online = store.online_features("svc", keys, request=request)
    spine = [{**key, **fields, "now": AT} for key, fields in zip(keys, request, strict=True)]
    schema = pa.schema([("k", pa.int64()), ("n", pa.int64()), ("m", pa.int64()), ("x", pa.float64()), ("y", pa.float64())])
    decimals = schema.append(pa.field("d", pa.decimal128(9, 2))).append(pa.field("now", STAMP))
    offline = store.point_in_time("svc", pa.Table.from_pylist(spine, decimals), timestamp="now").to_pylist()
    rows = [dict(zip(online.features, row, strict=True)) for row in online.rows]
    assert [{name: bits(row[name]) for name in SERVICE.derived} for row in rows] == [
        {name: bits(row[name]) for name in SERVICE.derived} for row in offline
    ]
    return rows


def row(n: int | None = 7, m: int | None = 2, x: float = 7.5, y: float = 2.0, d: int = 7) -> dict[str, Any]:
    return {"n": n, "m": m, "x": x, "y": y, "d": d}


def test_one_zero_divisor_ends_no_batch_and_is_null_in_its_row_alone(store: FeatureStore) -> None:
    first, second = both(store, [row(m=0, y=0.0), row()])
    assert [first[name] for name in ("whole", "rest", "rest_of_decimals", "whole_of_doubles", "nested")] == [None] * 5
    assert math.isnan(first["rest_of_doubles"])
    assert first["share"] == math.inf
    assert (second["whole"], second["rest"], second["whole_of_doubles"], second["rest_of_doubles"]) == (3, 1, 3.75, 1.5)


def test_features_of_no_column_are_there_for_each_entity(store: FeatureStore) -> None:
    assert [(found["bias"], found["tau"]) for found in both(store, [row(), row(), row()])] == [(1, 2 * math.pi)] * 3
    constant = FeatureService("constant", features=[VIEW], derived={"bias": "1.0"})
    store.apply([constant])
    assert [found[-1] for found in store.online_features("constant", [{"k": 1}, {"k": 2}, {"k": 3}]).rows] == [1, 1, 1]


NUMBERS = st.integers(-3, 3) | st.integers(-(2**31), 2**31)


@pytest.mark.slow
@on_a_store(examples=15)
@given(
    requests=st.lists(
        st.builds(
            row,
            n=st.none() | NUMBERS,
            m=st.none() | NUMBERS,
            x=st.floats(),
            y=st.sampled_from([0.0, -0.0]) | st.floats(),
            d=NUMBERS.map(lambda n: n % 1000),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_online_and_offline_are_the_same_to_the_bit(store: FeatureStore, requests: list[dict[str, Any]]) -> None:
    both(
        store, [{**request, "x": request["x"] % 1e6, "y": request["y"]} if math.isfinite(request["x"]) else request for request in requests]
    )


@pytest.mark.parametrize("sql", ["upper(v)", "s + interval 1 day", "date_trunc('day', v)", "{'a': v}"])
def test_what_cannot_work_on_the_types_is_refused_when_it_is_planned(store: FeatureStore, sql: str) -> None:
    wrong = replace(SERVICE, derived={**SERVICE.derived, "e": sql})
    with pytest.raises(DefinitionError, match=r"service 'svc', derived\.e:"):
        store.apply([wrong])
    assert both(store, [row()])


def test_a_view_whose_types_change_is_held_against_the_services_over_it(store: FeatureStore) -> None:
    view = replace(VIEW, name="vb")
    adding = FeatureService("adding", features=[view], derived={"more": "v + 1"})
    store.apply([adding])
    texts = replace(view, features={"v": "s", "s": "s"})
    with pytest.raises(DefinitionError, match="does not work on these types: v is VARCHAR"):
        store.plan([FeatureService("adding", features=[texts], derived={"more": "v + 1"})])


@pytest.mark.parametrize(
    "sql, kind",
    [
        ("CAST(v * 1000 AS DECIMAL(5,2))", r"DECIMAL\(5,2\)"),
        ("v * 9223372036854775807 * 2", "BIGINT"),
        ("CAST(1e308 * v AS FLOAT)", "FLOAT"),
        ("v + 99999999999999999999999999999999999999::HUGEINT", "HUGEINT"),
        ("to_timestamp(v * 1000000000000)", "TIMESTAMP WITH TIME ZONE"),
        ("to_timestamp(v * -1000000000000)", "TIMESTAMP WITH TIME ZONE"),
        ("CASE WHEN v = 2 THEN TIMESTAMP 'infinity' END", "TIMESTAMP"),
        ("DATE '9999-12-31' + CAST(v AS INTEGER)", "DATE"),
        ("[DATE '0001-01-01', DATE '-infinity', NULL]", r"DATE\[\]"),
        ("[NULL, [to_timestamp(v * 1000000000000)]]", r"TIMESTAMP WITH TIME ZONE\[\]\[\]"),
    ],
)
def test_a_value_beyond_its_type_names_the_derived_feature(store: FeatureStore, sql: str, kind: str) -> None:
    store.apply([FeatureService("over", features=[VIEW], derived={"fine": "v + 1", "much": sql})])
    with pytest.raises(RequestError, match=rf"the derived feature 'much' .*, which is {kind}") as caught:
        store.online_features("over", [{"k": 1}, {"k": 2}])
    assert caught.value.details["field"] == "derived.much"
    with pytest.raises(RequestError, match=rf"the derived feature 'much' .*, which is {kind}"):
        store.point_in_time("over", [{"k": 1, "t": AT}, {"k": 2, "t": AT}], timestamp="t")


def test_the_last_values_that_a_table_holds_are_none_beyond(store: FeatureStore) -> None:
    derived = {
        "last": "to_timestamp(253402300799)",
        "first": "DATE '0001-01-01'",
        "days": "[DATE '9999-12-31', NULL]",
        "none": "CASE WHEN v = 9 THEN TIMESTAMP 'infinity' END",
        "wide": "v - v - 99999999999999999999999999999999999999::HUGEINT",
    }
    store.apply([FeatureService("ends", features=[VIEW], derived=derived)])
    expected = [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), date(1, 1, 1), [date(9999, 12, 31), None], None, -(10**38) + 1]
    features = store.online_features("ends", [{"k": 1}])
    online = dict(zip(features.features, features.rows[0], strict=True))
    (offline,) = store.point_in_time("ends", [{"k": 1, "now": AT}], timestamp="now").to_pylist()
    assert [online[name] for name in derived] == [offline[name] for name in derived] == expected


def test_what_a_training_set_would_hold_as_another_number_is_refused_when_it_is_planned(store: FeatureStore) -> None:
    service = FeatureService("over", features=[VIEW], derived={"much": "CAST(v AS UHUGEINT)"})
    with pytest.raises(DefinitionError, match=r"has type UHUGEINT.*CAST it to DECIMAL\(38,0\)"):
        store.plan([service])


def test_a_training_set_names_it_as_well(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.apply([FeatureService("over", features=[VIEW], derived={"fine": "v + 1", "much": "v * 9223372036854775807 * 2"})])
    spine = [{"k": 1, "t": AT}, {"k": 2, "t": AT}]
    message = r"the derived feature 'much' .*, which is BIGINT"
    with pytest.raises(RequestError, match=message) as caught:
        store.point_in_time("over", spine, timestamp="t")
    assert caught.value.details["field"] == "derived.much"
    with pytest.raises(RequestError, match=message):
        store.training_set("over", spine, timestamp="t")
    # The join in DuckDB.
    monkeypatch.setattr("featurestore.joins.join.MEMORY_DIVISOR", 10**15)
    with pytest.raises(RequestError, match=message):
        store.point_in_time("over", spine, timestamp="t")


@pytest.mark.parametrize("every", [None, "1d"])
def test_a_zero_divisor_in_a_view_is_null_in_its_row_alone(store: FeatureStore, every: str | None) -> None:
    name = f"zero_{every}"
    rows = {"k": pa.array([1, 2, 3], pa.int64()), "t": pa.array([AT] * 3, STAMP), "n": pa.array([7, 7, 7]), "m": pa.array([0, 2, 4])}
    load_source(store, f"raw.{name}", pa.table(rows))
    source = Source(name, table=f"raw.{name}", timestamp="t", columns={"whole": "n // m"}, where="coalesce(n % m, 1) > 0")
    features: dict[str, Any]
    if every:
        features = {"n": agg.sum("n % m", over="60d"), "whole": agg.sum("whole", over="60d"), "rest": Expression("n_60d % whole_60d")}
    else:
        features = {"n": "n % m", "whole": "whole", "rest": Expression("n % (whole - 3)")}
    view = FeatureView(
        name, entity=Entity("e", keys="k"), source=source, features=features, every=every, checks=[check.that("k // 0 IS NULL")]
    )
    service = FeatureService(name, features=[view])
    store.apply([service])
    store.materialize([name], end="2026-03-20")
    online = store.online_features(name, [{"k": 1}, {"k": 2}, {"k": 3}]).rows
    assert online == ((None, None, None), (1, 3, None if not every else 1), (3, 1, 1 if not every else 0))
    spine = [{"k": key, "t": datetime(2026, 3, 2, tzinfo=UTC)} for key in (1, 2, 3)]
    offline = store.point_in_time(name, spine, timestamp="t")
    assert [tuple(row[column] for column in offline.schema.names[-3:]) for row in offline.to_pylist()] == list(online)
