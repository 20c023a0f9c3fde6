"""Lineage of queries, views and services: exact uses of small cases, and a property that DuckDB decides."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import Entity, Expression, FeatureService, FeatureView, Source, agg
from featurestore.compiler.binding import ViewVersion, bind_service
from featurestore.compiler.expressions import SqlProblem, parse_query
from featurestore.compiler.lineage.column_uses import TracedRelation, Uses
from featurestore.compiler.lineage.query_lineage import QueryTracer
from featurestore.compiler.lineage.view_lineage import source_tables, trace_service, trace_view
from featurestore.dsl.agg import Aggregation

TABLES = {"s.a": ["k", "x", "y"], "s.b": ["k", "z", "w"]}

QUERIES = {
    "SELECT x + 1 AS q FROM s.a": {"q": "a.x"},
    "SELECT * EXCLUDE (k) REPLACE (x + y AS x) RENAME (y AS why) FROM s.a": {"x": "a.x a.y", "why": "a.y"},
    "SELECT t.* FROM s.a AS t WHERE t.y > 0": {"k": "a.k a.y:filter", "x": "a.x a.y:filter", "y": "a.y a.y:filter"},
    "SELECT x, sum(y) AS s FROM s.a GROUP BY 1": {"x": "a.x a.x:group", "s": "a.y a.x:group"},
    "SELECT x, sum(y) AS s FROM s.a GROUP BY ALL": {"x": "a.x a.x:group", "s": "a.y a.x:group"},
    "SELECT count(*) AS n, count(*) FILTER (WHERE w > 1) AS m FROM s.b": {"n": "b", "m": "b b.w:filter"},
    "SELECT count(1) AS n, sum(2 * 1) AS m FROM s.a": {"n": "a", "m": "a"},
    "SELECT sum(x) OVER (PARTITION BY k ORDER BY y) AS s FROM s.a": {"s": "a.x a.k:window a.y:window"},
    "SELECT x FROM s.a QUALIFY row_number() OVER (PARTITION BY k ORDER BY y) = 1": {"x": "a.x a.k:filter a.y:filter"},
    "SELECT list(x ORDER BY y) AS l FROM s.a": {"l": "a.x a.y:order"},
    "SELECT x FROM s.a ORDER BY y": {"x": "a.x"},
    "SELECT x FROM s.a ORDER BY y LIMIT 3": {"x": "a.x a.y:order"},
    "SELECT DISTINCT x FROM s.a": {"x": "a.x a.x:group"},
    "SELECT DISTINCT ON (k) x FROM s.a ORDER BY k, y": {"x": "a.x a.k:group a.k:order a.y:order"},
    "SELECT a.x, b.z FROM s.a AS a JOIN s.b AS b ON a.k = b.k AND b.w > 0": {
        "x": "a.x a.k:join b.k:join b.w:join",
        "z": "b.z a.k:join b.k:join b.w:join",
    },
    "SELECT x, z FROM s.a LEFT JOIN s.b USING (k)": {"x": "a.x a.k:join b.k:join", "z": "b.z a.k:join b.k:join"},
    "SELECT x FROM s.a SEMI JOIN s.b ON a.k = b.k AND w > 0": {"x": "a.x a.k:join b.k:join b.w:join"},
    "SELECT x, z FROM s.a ASOF JOIN s.b ON a.k = b.k AND a.y >= b.w": {
        "x": "a.x a.k:join b.k:join a.y:join b.w:join",
        "z": "b.z a.k:join b.k:join a.y:join b.w:join",
    },
    "WITH c AS (SELECT k, max(z) AS m FROM s.b WHERE w > 0 GROUP BY k) SELECT a.x, c.m FROM s.a AS a JOIN c ON c.k = a.k": {
        "x": "a.x b.w:filter b.k:group a.k:join b.k:join",
        "m": "b.z b.w:filter b.k:group a.k:join b.k:join",
    },
    "WITH c(p) AS (SELECT x FROM s.a), d AS (SELECT p + 1 AS q FROM c) SELECT q FROM d": {"q": "a.x"},
    "WITH RECURSIVE r(n) AS (SELECT x FROM s.a UNION ALL SELECT n + y FROM r JOIN s.a ON n < y) SELECT n FROM r": {
        "n": "a.x a.y a.x:join a.y:join"
    },
    "SELECT x FROM s.a UNION ALL SELECT z FROM s.b": {"x": "a.x b.z"},
    "SELECT x FROM s.a EXCEPT SELECT z FROM s.b": {"x": "a.x a.x:filter b.z:filter"},
    "SELECT x AS v FROM s.a UNION ALL BY NAME SELECT z AS v, w AS u FROM s.b": {"v": "a.x b.z", "u": "b.w"},
    "SELECT (SELECT max(z) FROM s.b WHERE b.k = a.k) AS m FROM s.a AS a": {"m": "b.z a.k:filter b.k:filter"},
    "SELECT x FROM s.a AS a WHERE EXISTS (SELECT 1 FROM s.b AS b WHERE b.k = a.k)": {"x": "a.x a.k:filter b.k:filter"},
    "SELECT x FROM s.a WHERE k IN (SELECT k FROM s.b WHERE w > 0)": {"x": "a.x a.k:filter b.k:filter b.w:filter"},
    "SELECT u.v FROM s.a, unnest([x, y]) AS u(v)": {"v": "a.x a.y"},
    "SELECT x AS p, p + y AS q FROM s.a WHERE p > 0": {"p": "a.x a.x:filter", "q": "a.x a.y a.x:filter"},
    "SELECT l.m FROM s.a AS a, LATERAL (SELECT a.x + z AS m FROM s.b) AS l": {"m": "a.x b.z"},
    "SELECT col0 + x AS q FROM (VALUES (1), (2)) AS v, s.a": {"q": "a.x"},
    "SELECT X FROM s.a": {"X": "a.x"},
    "SELECT CASE WHEN y > 0 THEN x END AS c FROM s.a": {"c": "a.x a.y"},
    "SELECT f.x FROM (SELECT * FROM s.gone) AS f WHERE f.c": {"x": "gone.x gone.c:filter"},
}


def trace(sql: str) -> TracedRelation:
    return QueryTracer(TABLES).query(parse_query(sql), {}, None)


def use_texts(uses: Uses, rows: bool = False) -> set[str]:
    """`a.x` for a value, `a.x:filter` for another role, `a` for counted rows; rows that are read only if asked for."""
    texts = set()
    for use in uses:
        if use.role != "rows" or rows:
            table = use.table.removeprefix("s.")
            texts.add(f"{table}{f'.{use.column}' if use.column else ''}{'' if use.role == 'value' else f':{use.role}'}")
    return texts


@pytest.mark.parametrize("sql", QUERIES)
def test_a_column_of_a_query_leads_to_stored_columns(sql: str) -> None:
    relation = trace(sql)
    uses_by_column = {name: use_texts(uses | relation.rows) for name, uses in relation.columns if name is not None}
    assert uses_by_column == {name: set(uses.split()) for name, uses in QUERIES[sql].items()}


ITEMS = st.sampled_from(["x", "y", "x + y AS p", "max(x) OVER (PARTITION BY k ORDER BY y) AS p", "CASE WHEN y > 1 THEN x END AS p"])
CONDITIONS = st.sampled_from(
    ["", "WHERE y > 0", "WHERE x > y", "WHERE k IN (SELECT k FROM s.b WHERE w > 0)", "QUALIFY row_number() OVER (ORDER BY x, y) < 3"]
)
TAILS = st.sampled_from(["", "ORDER BY y, x LIMIT 2", "EXCEPT SELECT z FROM s.b"])
JOINS = st.sampled_from([("", "a.y"), ("JOIN s.b AS b USING (k)", "b.z"), ("LEFT JOIN s.b AS b ON a.k = b.k AND b.w > 1", "b.z")])
VALUES = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=6)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    ITEMS,
    CONDITIONS,
    TAILS,
    JOINS,
    VALUES,
    VALUES,
    st.sampled_from([("s.a", "x"), ("s.a", "y"), ("s.a", "k"), ("s.b", "z"), ("s.b", "w")]),
    VALUES,
)
def test_what_is_not_used_changes_nothing(
    item: str,
    condition: str,
    tail: str,
    join: tuple[str, str],
    a: list[tuple[int, ...]],
    b: list[tuple[int, ...]],
    changed: tuple[str, str],
    other: list[tuple[int, ...]],
) -> None:
    table, column = changed
    base = f"SELECT a.k, a.x, {join[1]} AS y FROM s.a AS a {join[0]}"
    sql = f"WITH base AS ({base}) SELECT {item} FROM base {condition} {tail}"
    relation = trace(sql)
    (_, uses), *_ = relation.columns
    used = {(use.table, use.column) for use in uses | relation.rows}
    rows = {"s.a": a, "s.b": b}
    position = TABLES[table].index(column)
    replaced = [
        tuple(other[i % len(other)][0] if place == position else value for place, value in enumerate(row))
        for i, row in enumerate(rows[table])
    ]
    before, after = _result(sql, rows), _result(sql, {**rows, table: replaced})
    if (table, column) not in used:
        assert before == after


def _result(sql: str, rows: dict[str, list[tuple[int, ...]]]) -> list[str]:
    connection = duckdb.connect(":memory:lineage")
    connection.execute("CREATE SCHEMA IF NOT EXISTS s")
    for table, values in rows.items():
        connection.execute(
            f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM (VALUES {', '.join(map(str, values))}) AS v({', '.join(TABLES[table])})"
        )
    return sorted(map(repr, connection.execute(sql).fetchall()))


customer = Entity("customer", keys="customer_id")
ORDERS = Source(
    "orders",
    table="shop.orders",
    timestamp="ordered_at",
    created="loaded_at",
    columns={"total": "amount + tax", "twice": "total * 2"},
    where="status <> 'draft'",
)
COLUMNS = {"shop.orders": ["customer_id", "amount", "tax", "status", "channel", "ordered_at", "loaded_at", "unused"]}
ALWAYS = {
    "shop.orders.customer_id:key",
    "shop.orders.ordered_at:timestamp",
    "shop.orders.loaded_at:created",
    "shop.orders.status:filter",
}


def test_a_view_leads_through_its_source() -> None:
    features: dict[str, str | Aggregation | Expression] = {
        "spend": agg.sum("twice", over="7d"),
        "web": agg.count(where="channel = 'web'", over="7d"),
        "share": Expression("spend_7d / nullif(web_7d, 0)"),
    }
    view = FeatureView("orders", entity=customer, source=ORDERS, every="1d", features=features)
    uses_by_feature = {name: use_texts(uses) for name, uses in trace_view(view, COLUMNS).features.items()}
    spend, web = {"shop.orders.amount", "shop.orders.tax"}, {"shop.orders", "shop.orders.channel:filter"}
    assert uses_by_feature == {"spend_7d": spend | ALWAYS, "web_7d": web | ALWAYS, "share": spend | web | ALWAYS}
    assert trace_view(view, {}).features == trace_view(view, COLUMNS).features


def test_a_row_view_over_a_query() -> None:
    sql = (
        "WITH c AS (SELECT customer_id, country FROM shop.customers) SELECT o.*, c.country FROM shop.orders AS o JOIN c USING (customer_id)"
    )
    source = Source("joined", sql=sql, timestamp="ordered_at")
    view = FeatureView("joined", entity=customer, source=source, features=["country", "amount"])
    assert set(source_tables(source)) == {"shop.customers", "shop.orders"}
    traced = trace_view(view, {**COLUMNS, "shop.customers": ["customer_id", "country"]})
    always = {
        "shop.orders.customer_id:key",
        "shop.orders.ordered_at:timestamp",
        "shop.orders.customer_id:join",
        "shop.customers.customer_id:join",
    }
    uses_by_feature = {name: use_texts(uses) - {"shop.customers.customer_id:key"} for name, uses in traced.features.items()}
    assert uses_by_feature == {"country": {"shop.customers.country"} | always, "amount": {"shop.orders.amount"} | always}


def test_a_service_leads_to_feature_tables() -> None:
    view = FeatureView("orders", entity=customer, source=ORDERS, features=["amount", "tax"])
    types = {"customer_id": "BIGINT", "amount": "DOUBLE", "tax": "DOUBLE"}
    service = FeatureService(
        "s",
        features=[view.aliased("o", keys={"customer_id": "buyer"})],
        request={"basket": "double"},
        derived={"d": "basket / o_tax", "e": "basket"},
    )
    plan = bind_service(service, 1, "f", {"orders": ViewVersion(view, 3, types)})
    uses_by_feature = {name: use_texts(uses) for name, uses in trace_service(plan).features.items()}
    assert uses_by_feature == {
        "o_amount": {"orders_v3.amount", "orders_v3.customer_id:key"},
        "o_tax": {"orders_v3.tax", "orders_v3.customer_id:key"},
        "d": {"orders_v3.tax", "orders_v3.customer_id:key", "(request).basket"},
        "e": {"(request).basket"},
    }


def test_sql_that_is_not_accepted_is_refused() -> None:
    source = Source("bad", sql="SELECT * FROM read_csv('/etc/passwd')", timestamp="t")
    with pytest.raises(SqlProblem, match="read_csv"):
        trace_view(FeatureView("bad", entity=customer, source=source, features=["x"]), {})
