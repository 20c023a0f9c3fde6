"""Hostile SQL is refused with a message, or is harmless: DuckDB's parser finds only what users may write."""

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from featurestore.compiler.expressions import (
    SqlProblem,
    canonical,
    parse_query,
    parse_row,
    query_tables,
    quote_name,
    render,
    render_query,
)
from tests.compiler import duckdb_parser

CASES = json.loads((Path(__file__).parent / "hostile" / "sql.json").read_text())
COLUMNS = ("x", "y", "customer_id", "amount", "ordered_at", "status")
SCOPE = {name: quote_name(name) for name in COLUMNS}
MORE = [
    "CAST(1 AS \"oid); COPY (SELECT 1) TO '/x.csv'; --\")",
    'x::"regclass"',
    "CAST(x AS UNION(a INT))",
    "x::variant",
    'x::INT[3]["a; b"]',
    'x::STRUCT("a) , read_text(1) , (b" INT)',
    "x::DECIMAL(39,2)",
    "x::DECIMAL(2,3)",
    'TRY_CAST(x AS "a)")',
    "last_day(x, \"day) , read_text('a'\")",
    "last_day(x, 'day')",
    "last_day(x, month)",
    'time_bucket(INTERVAL 1 day, x, "y) , (select 1")',
    "INTERVAL 1 \"day) , read_text('a'\"",
    "INTERVAL '1' YEAR TO MONTH",
    "datediff(\"day', x, x) , read_text('a\", x, x)",
    'timestampdiff("a b", x, x)',
    "date_part(y, x)",
    "date_part(['year', 'x; y'], x)",
    "datepart('a', x)",
    "list_aggregate(x, y)",
    "list_aggregate(x, 'mode')",
    "list_aggregate(x, 'any_' || 'value')",
    "list_aggregate(x)",
    "list_aggr(x, 'sum')",
    "array_aggregate(x, 'reservoir_quantile')",
    "array_aggr(x, 'sum')",
    "aggregate(x, 'sum')",
    "list_any_value(x)",
    "list_approx_count_distinct(x)",
    "getvariable('x')",
    "current_setting('x')",
    "query('SELECT 1')",
    "$1",
    "$name",
    "x COLLATE nocase",
    "x IN (FROM y)",
    "x AT TIME ZONE (SELECT 'UTC')",
    "'a' || $$b$$",
    '"localtime"',
    '"CURRENT_USER"',
    "user",
    '""',
    'x.""',
    "x.y.z.read_text()",
    "main.read_text('x')",
    "system.main.getenv('HOME')",
    "(x).read_text()",
    "x.y.*",
    "* EXCLUDE (x)",
    "x /*+ hint */",
    "try(x / 0)",
    "repeat('x', 99999999)",
    "rpad('x', 99999999, 'y')",
    "x \ud800",
    "'\udfff'",
    "nextval('s')",
    "x -- c\n; DROP TABLE y",
    "xmlparse(x)",
    "unnest(x)",
    "x OPERATOR(pg_catalog.+) y",
    "x ? y",
    "x GLOB 'a'",
    "x SIMILAR TO 'a' ESCAPE 'b'",
    "cast(x as int) over ()",
    "row_number()",
    "[y for y in x]",
    "list_filter(x, y -> y > 1)",
    "list_reduce(x, lambda a, b: a + b)",
]
MORE_QUERIES = [
    "WITH x AS (SELECT * FROM x) SELECT * FROM x",
    'WITH "pg_settings" AS (SELECT * FROM "pg_settings") SELECT * FROM "pg_settings"',
    "WITH a AS (SELECT * FROM b), b AS (SELECT 1 AS x) SELECT * FROM a",
    "SELECT * FROM n.t WHERE x IN (WITH c AS (SELECT 1) SELECT 1) AND x IN (SELECT 1 FROM c)",
    "WITH RECURSIVE c AS (SELECT * FROM c) SELECT * FROM c",
    "WITH RECURSIVE c AS (SELECT 1 AS x UNION ALL SELECT x FROM d), d AS (SELECT 1 AS x) SELECT * FROM c",
    "SELECT * FROM n.t, (SELECT * FROM duckdb_settings) s",
    "SELECT (SELECT max(content) FROM '/etc/passwd')",
    "SELECT * FROM n.t UNION SELECT * FROM information_schema_tables",
    "SELECT x FROM n.t ORDER BY (SELECT 1 FROM sqlite_master)",
    "SELECT x FROM n.t GROUP BY x HAVING EXISTS (FROM duckdb_tables)",
    "SELECT sum(x) OVER (PARTITION BY (SELECT 1 FROM pg_database)) FROM n.t",
    "SELECT x FROM n.t LIMIT (SELECT 1 FROM pg_database)",
    "SELECT * FROM n.t USING SAMPLE 10%",
    "SELECT * FROM n.t TABLESAMPLE 10%",
    "SELECT * FROM n.t AT (VERSION => 1)",
    "SELECT * FROM n.t FOR SYSTEM_TIME AS OF TIMESTAMP '2020-01-01'",
    "SELECT * FROM n.t PIVOT (sum(x) FOR y IN (1))",
    "UNPIVOT n.t ON x INTO NAME a VALUE b",
    "SELECT * FROM n.t UNPIVOT (a FOR b IN (x))",
    "DESCRIBE n.t",
    "SUMMARIZE n.t",
    "SELECT * FROM (DESCRIBE n.t)",
    "SELECT * FROM (SUMMARIZE n.t)",
    "SELECT * FROM (SHOW TABLES)",
    "SHOW TABLES",
    "TABLE n.t",
    "SELECT COLUMNS('x') FROM n.t",
    "SELECT * LIKE 'x%' FROM n.t",
    "SELECT #1 FROM n.t",
    "SELECT $1 FROM n.t",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('t')",
    "SELECT * FROM n.t, LATERAL read_text('x')",
    "SELECT * FROM range(10)",
    "SELECT rowid FROM n.t",
    "SELECT t.rowid FROM n.t",
    "SELECT filename FROM n.t, (SELECT count(*) FROM n.t) c",
    'SELECT "current_date" FROM n.t',
    'SELECT x FROM n.t ORDER BY "current_timestamp"',
    'SELECT x AS "user" FROM n.t WHERE "user" = \'a\'',
    "SELECT t FROM n.t",
    "SELECT x FROM n.t FOR UPDATE",
    "SELECT a.x FROM n.t",
    "SELECT x FROM n.t, n.t",
    "INSERT INTO n.t SELECT 1",
    "SELECT 1 FROM n.t; DROP TABLE r0",
    "COPY n.t TO 'x'",
    "EXPLAIN SELECT 1",
    "EXECUTE x",
    "CALL pragma_version()",
    "PRAGMA version",
    "SET VARIABLE x = 1",
    "WITH x AS (DELETE FROM n.t RETURNING *) SELECT * FROM x",
    'SELECT x AS "a""; DROP TABLE r0; --" FROM n.t',
    'SELECT x FROM n.t AS "/etc/passwd"',
    'SELECT "/etc/passwd".x FROM n.t AS "/etc/passwd"',
    'SELECT sum(x) OVER "w; DROP" FROM n.t WINDOW "w; DROP" AS (ORDER BY x)',
    'SELECT * EXCLUDE ("a; b") FROM n.t',
    "SELECT * REPLACE ((SELECT 1 FROM duckdb_tables) AS x) FROM n.t",
    'SELECT * RENAME (x AS "y; z") FROM n.t',
    "FROM n.t POSITIONAL JOIN (FROM pg_settings) p",
    "SELECT DISTINCT ON ((SELECT 1 FROM pg_settings)) x FROM n.t",
]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """An engine with one table of two rows, which may reach nothing else, and what is allowed to take little memory."""
    with duckdb.connect(config={"memory_limit": "256MB", "threads": 1, "enable_external_access": False}) as connection:
        connection.execute("SET timezone = 'UTC'")
        kinds = "1 AS x, 2 AS y, 3 AS customer_id, 1.5 AS amount, TIMESTAMP '2026-03-05' AS ordered_at, 'paid' AS status"
        connection.execute(f"CREATE TABLE r0 AS SELECT {kinds}")
        yield connection


def _runs_alone(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Twice, with one answer; an error of the engine is an answer too."""
    answers = []
    for _ in range(2):
        try:
            answers.append(str(connection.execute(sql).fetchall()))
        except duckdb.Error as error:
            answers.append(type(error).__name__)
    assert answers[0] == answers[1]
    assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("r0",)]


@pytest.mark.parametrize("sql", [*CASES["row_expressions"], *MORE])
def test_a_hostile_expression_is_refused_or_harmless(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        rendered = render(parse_row(sql), SCOPE)
        again = render(parse_row(canonical(sql)), SCOPE)
    except SqlProblem:
        return
    assert again == rendered
    assert duckdb_parser.objections(connection, rendered, COLUMNS) == []
    if "2000000000" not in sql:
        _runs_alone(connection, f"SELECT {rendered} AS z FROM r0")


@pytest.mark.parametrize("sql", [*CASES["spine_queries"].values(), *MORE_QUERIES])
def test_a_hostile_query_is_refused_or_harmless(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        tree = parse_query(sql)
        names = query_tables(tree)
        rendered = render_query(tree, dict.fromkeys(names, "r0"), dict.fromkeys(names, COLUMNS))
    except SqlProblem:
        return
    assert canonical(canonical(sql)) == canonical(sql)
    assert duckdb_parser.query_objections(connection, rendered, {"r0"}) == []
    for typed in ("passwd", "pg_", "sqlite", "secret", "warehouse", "read_"):
        assert typed not in rendered
    _runs_alone(connection, rendered)


def test_the_judge_objects_to_what_hostile_sql_does(connection: duckdb.DuckDBPyConnection) -> None:
    assert duckdb_parser.objections(connection, "1; SELECT 2", COLUMNS)
    assert duckdb_parser.objections(connection, "1, 2", COLUMNS)
    assert duckdb_parser.objections(connection, "getenv('HOME')", COLUMNS)
    assert duckdb_parser.objections(connection, "(SELECT 1)", COLUMNS)
    assert duckdb_parser.objections(connection, "CAST(1 AS oid)", COLUMNS)
    assert duckdb_parser.objections(connection, '"current_date"', COLUMNS)
    assert duckdb_parser.query_objections(connection, 'SELECT * FROM "/etc/passwd"', {"r0"})
    assert duckdb_parser.query_objections(connection, "SELECT * FROM read_text('x')", {"r0"})
    assert duckdb_parser.query_objections(connection, "SELECT * FROM r0 USING SAMPLE 1", {"r0"})
    assert not duckdb_parser.query_objections(connection, "SELECT x + 1 FROM r0", {"r0"})
