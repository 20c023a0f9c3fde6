"""DuckDB's parser reads accepted SQL as one harmless expression, also with hostile names, types, units and texts."""

from collections.abc import Iterator
from functools import partial

import duckdb
import pytest
import sqlglot
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlglot.errors import SqlglotError

from featurestore.compiler.expressions import SqlProblem, canonical, parse_query, parse_row, query_tables, quote_name, render, render_query
from tests.compiler import duckdb_parser
from tests.thorough import choose

COLUMNS = ("x", "y", "current_date", 'we"ird; name')
SCOPE = {name: quote_name(name) for name in COLUMNS}
FRAGMENTS = [
    *("INT", "oid", "day", "DAY", "year", "sum", "mode", "x", "y", "t", "UTC", "a", "'", '"', "''", '""', ";", "--", "/*", "*/", "\\"),
    *(" ", "\n", "\t", ")", "(", "[", "]", "{", "}", ",", ".", ":", "::", "?", "$1", "$$", "#1", "@", "%"),
    *("\u00a0", "\u200b", "\u2019", "\x00", "SELECT 1", "); DROP TABLE r0; --", ") , read_text('/etc/passwd'", "getenv('HOME')"),
    *("current_date", "E'", "/etc/passwd", "pg_settings", "COPY (SELECT 1) TO '/x'", "AS (y", "FROM x", "UNION ALL SELECT 1"),
    *("rowid", "random()", "lambda z: z", "COLUMNS(*)"),
]
TEXTS = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4).map("".join)
NAMES = st.one_of(TEXTS.map(quote_name), TEXTS, st.sampled_from(COLUMNS).map(quote_name))
WORDS = st.one_of(TEXTS.map(lambda text: "'" + text.replace("'", "''") + "'"), TEXTS.map(lambda text: f"'{text}'"), NAMES)
FORMS = [
    "CAST(x AS {n})",
    "TRY_CAST(x AS {n}[])",
    "x::{n}",
    "x::STRUCT({n} INT)",
    "x::DECIMAL({n}, {n})",
    "date_trunc({w}, x)",
    "date_diff({w}, x, y)",
    "date_part({w}, x)",
    "date_sub({w}, x, y)",
    "EXTRACT({n} FROM x)",
    "x + INTERVAL {w}",
    "x + INTERVAL 1 {n}",
    "x + INTERVAL (y) {n}",
    "date_add(x, 1, {w})",
    "last_day(x, {w})",
    "time_bucket(INTERVAL 1 day, x, {w})",
    "list_aggregate(x, {w})",
    "x AT TIME ZONE {w}",
    "strptime(x, {w})",
    "x LIKE {w} ESCAPE {w}",
    "x.{n}",
    "(x).{n}",
    "{n}",
    "{n}(x)",
    "x COLLATE {n}",
    "CASE WHEN x = {w} THEN {w} ELSE y END",
    "x IN ({w}, {w})",
    "x[{n}]",
    "{w} || {w}",
    "{t}",
    "x {t} y",
    "(x + {t})",
    "abs(x{t})",
]
QUERIES = [
    "SELECT x AS {n} FROM n.t",
    "SELECT * FROM n.t AS {n}",
    "SELECT * FROM {n}",
    "WITH {n} AS (SELECT x FROM n.t) SELECT * FROM {n}",
    "WITH c AS (SELECT * FROM {n}) SELECT x FROM c",
    "SELECT {n}.x FROM n.t AS {n}",
    "SELECT x FROM n.t WHERE EXISTS (WITH {n} AS (SELECT 1) SELECT 1) AND x IN (SELECT 1 FROM {n})",
    "SELECT sum(x) OVER {n} FROM n.t WINDOW {n} AS (PARTITION BY {n})",
    "SELECT * EXCLUDE ({n}) FROM n.t",
    "SELECT * REPLACE ({n} AS x) FROM n.t",
    "SELECT x FROM n.t ORDER BY {n}",
    "SELECT x FROM n.t {t}",
    "SELECT {t} FROM n.t",
    "SELECT x FROM (SELECT x FROM n.t) {n} ({n})",
    "SELECT x FROM n.t JOIN {n} USING ({n})",
]


def fill(forms: list[str]) -> st.SearchStrategy[str]:
    """A form with hostile parts in it, and now and then some more behind or in the middle."""

    @st.composite
    def one(draw: st.DrawFn) -> str:
        form = draw(st.sampled_from(forms))
        for sign, parts in (("{n}", NAMES), ("{w}", WORDS), ("{t}", TEXTS)):
            while sign in form:
                form = form.replace(sign, draw(parts), 1)
        if draw(st.integers(0, 4)) == 0:
            place = draw(st.integers(0, len(form)))
            form = form[:place] + draw(TEXTS) + form[place:]
        return form

    return one()


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


def render_if_accepted(sql: str) -> str | None:
    """What is rendered of an expression, of its canonical spelling too; None when it is refused."""
    try:
        rendered = render(parse_row(sql), SCOPE)
        assert render(parse_row(canonical(sql)), SCOPE) == rendered
    except SqlProblem:
        return None
    return rendered


def bare(sql: str) -> str | None:
    """What sqlglot alone makes of it: the first wall switched off."""
    try:
        return sqlglot.parse_one(sql, read="duckdb").sql(dialect="duckdb")
    except (SqlglotError, AttributeError, TypeError, ValueError, IndexError, KeyError):
        return None


def _fuzz(connection: duckdb.DuckDBPyConnection, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(fill(FORMS))
    @example("CAST(1 AS \"oid); COPY (SELECT 1) TO '/x.csv'; --\")")
    def expressions(sql: str) -> None:
        rendered = render_if_accepted(sql)
        assert rendered is None or duckdb_parser.objections(connection, rendered, COLUMNS) == []

    @settings(max_examples=examples // 2, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(fill(QUERIES))
    def queries(sql: str) -> None:
        try:
            tree = parse_query(sql)
            names = query_tables(tree)
            rendered = render_query(tree, dict.fromkeys(names, "r0"), dict.fromkeys(names, COLUMNS))
            canonical(sql)
        except SqlProblem:
            return
        assert duckdb_parser.query_objections(connection, rendered, {"r0"}) == []

    expressions()
    queries()


@pytest.mark.slow
def test_what_is_accepted_is_one_harmless_expression(connection: duckdb.DuckDBPyConnection) -> None:
    _fuzz(connection, choose(600, thorough=3_000))


def test_honest_forms_are_accepted() -> None:
    honest = {"{n}": "INT", "{w}": "'day'", "{t}": "+ 1 +"}
    forms = ["CAST(x AS {n})", "x::{n}", "date_trunc({w}, x)", "date_diff({w}, x, y)", "x {t} y", "x = {w}", "list_aggregate(x, 'sum')"]
    for form in forms:
        for sign, part in honest.items():
            form = form.replace(sign, part)
        assert render_if_accepted(form) is not None, form


def test_the_judge_objects_once_the_wall_is_off(connection: duckdb.DuckDBPyConnection) -> None:
    differences: list[str] = []

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(fill(FORMS))
    @example("CAST(1 AS \"oid); COPY (SELECT 1) TO '/x.csv'; --\")")
    def search(objections: "partial[list[str]]", sql: str) -> None:
        rendered = bare(sql)
        if rendered is not None and "\x00" not in rendered and objections(rendered):
            differences.append(sql)

    search(partial(lambda rendered: duckdb_parser.objections(connection, rendered, COLUMNS)))
    assert len(differences) > 10
    assert "CAST(1 AS \"oid); COPY (SELECT 1) TO '/x.csv'; --\")" in differences
