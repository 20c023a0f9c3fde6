"""Length and depth of SQL: realistic queries work, larger ones are refused with a message, and none overflows the stack."""

import duckdb
import pytest

from featurestore.compiler.expressions import SqlProblem, canonical, parse_query, parse_row, render, render_query

WORKS = {
    "array": "CASE WHEN len(CAST(NULL AS STRUCT(a FLOAT[4096], b INT)).a) IS NULL THEN x END",
    "parentheses": "(" * 60 + "x" + ")" * 60,
    "cases": "CASE WHEN x = 1 THEN " * 55 + "1" + " END" * 55,
    "elses": "CASE WHEN x = 2 THEN 1 ELSE " * 55 + "1" + " END" * 55,
    "calls": "abs(" * 60 + "x" + ")" * 60,
    "nots": "NOT " * 60 + "(x = 1)",
    "ors": " OR ".join(f"x = {i}" for i in range(400)),
    "ands": " AND ".join(f"(x <> {i} OR x > 0)" for i in range(2, 200)),
    "sums": "".join(f" {'+-'[i % 2]} x * {i}" for i in range(300)),
    "list": f"x IN ({', '.join(map(str, range(3000)))})",
    "texts": " || ".join(["'a'"] * 300),
}
REFUSED = {
    "parentheses": "(" * 5000 + "x" + ")" * 5000,
    "brackets": "[" * 400 + "x" + "]" * 400,
    "positions": "x" + "[1]" * 2000,
    "casts": "x" + "::INT" * 2000,
    "nested casts": "x" + "::INT" * 600,
    "types": "x::INT" + "[]" * 2000,
    "structs": "x::" + "STRUCT(a " * 300 + "INT" + ")" * 300,
    "fields": "x" + ".a" * 3000,
    "arrays": "CAST(NULL AS INT[99999][99999][99999])",
    "arrays in structs": "CAST(NULL AS STRUCT(a INT[6000], b INT[6000]))",
    "arrays in lists": "CAST(NULL AS INT[6000][][2])",
    "powers": " ** ".join(["x"] * 2000),
    "minuses": "- " * 1000 + "x",
    "characters": "'" + "a" * 500_000 + "'",
    "words": " + ".join(["x"] * 15_000),
}


@pytest.mark.parametrize("name", WORKS)
def test_what_honest_tools_write_works(name: str) -> None:
    rendered = render(parse_row(WORKS[name]), {"x": '"x"'})
    assert render(parse_row(canonical(WORKS[name])), {"x": '"x"'}) == rendered
    with duckdb.connect() as connection:
        typed = "true" if name == "nots" else "1"
        assert len(connection.execute(f"SELECT {rendered} FROM (SELECT {typed} AS x)").fetchall()) == 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_more_is_refused_with_a_message(name: str) -> None:
    with pytest.raises(SqlProblem, match=r"split it|put long lists into a table|too many|array of up to"):
        parse_row(REFUSED[name])


def test_deep_queries_work_or_are_refused() -> None:
    deep = "SELECT x FROM (" * 60 + "SELECT x FROM n.t" + ")" * 60
    rendered = render_query(parse_query(deep), {"n.t": "r0"}, {"n.t": ["x"]})
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE r0 AS SELECT 7 AS x")
        assert connection.execute(rendered).fetchall() == [(7,)]
    with pytest.raises(SqlProblem, match="nested"):
        parse_query("SELECT x FROM (" * 500 + "SELECT x FROM n.t" + ")" * 500)
