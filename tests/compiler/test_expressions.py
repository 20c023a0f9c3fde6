"""User SQL: what is on the allowlist is rendered, everything else is refused with a reason."""

import pytest

from featurestore.compiler.expressions import (
    SqlProblem,
    canonical,
    column_names,
    parse_query,
    parse_row,
    query_tables,
    render,
    render_query,
)

SCOPE = {"a": '"a"', "B c": '"B c"', "sum_ab": '("a" + "b")'}


@pytest.mark.parametrize(
    "sql,rendered",
    [
        ("A + 1", '"a" + 1'),
        ('"b C" * 2', '"B c" * 2'),
        ("sum_ab * 2", '(("a" + "b")) * 2'),
        ("to_days(a)", 'TO_DAYS("a")'),
        ("list_max([a, 2])", 'LIST_MAX(["a", 2])'),
        ("dayname(a)", 'DAYNAME("a")'),
        ("case when a then 1 end -- why", 'CASE WHEN "a" THEN 1 END'),
        ("a = 'it''s'", "\"a\" = 'it''s'"),
    ],
)
def test_columns_are_resolved_and_quoted(sql: str, rendered: str) -> None:
    assert render(parse_row(sql), SCOPE) == rendered


@pytest.mark.parametrize(
    "sql,reason",
    [
        ("now()", "another answer at every call"),
        ("current_date", "another answer at every call"),
        ("random()", "another answer at every call"),
        ("uuid()", "another answer at every call"),
        ("sum(a)", "aggregates rows"),
        ("sum(a) over ()", "is not allowed in row SQL"),
        ("(SELECT 1)", "contains a subquery"),
        ("a in (SELECT 1)", "contains a subquery"),
        ("read_text('/etc/passwd')", "not on the allowlist"),
        ("getenv('HOME')", "not on the allowlist"),
        ('a::DECIMAL("x", "")', "is not valid SQL"),
        ("hash(a)", "not on the allowlist"),
        ("*", "is not allowed in row SQL"),
        ("a; DROP TABLE b", "more than one statement"),
        ("DROP TABLE b", "is not allowed in row SQL"),
        ("a +", "is not valid SQL near"),
        ("", "is empty"),
    ],
)
def test_all_else_is_refused_with_the_reason(sql: str, reason: str) -> None:
    with pytest.raises(SqlProblem, match=reason):
        parse_row(sql)


@pytest.mark.parametrize(
    "sql,reason",
    [
        ("SELECT * FROM read_parquet('x')", "not on the allowlist"),
        ("SELECT * FROM 'x.parquet'", "has no namespace"),
        ("SELECT now() FROM a.b", "another answer at every call"),
        ("COPY a.b TO 'x'", "is not a SELECT"),
        ("ATTACH 'x'", "is not a SELECT"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT * FROM query('SELECT 1')", "not on the allowlist"),
    ],
)
def test_a_query_reads_catalog_tables_only(sql: str, reason: str) -> None:
    with pytest.raises(SqlProblem, match=reason):
        query_tables(parse_query(sql))


def test_tables_of_a_query_are_replaced_and_its_own_names_are_not() -> None:
    tree = parse_query("WITH x AS (SELECT * FROM shop.a) SELECT x.k, b.v FROM x JOIN shop.b USING (k)")
    assert set(query_tables(tree)) == {"shop.a", "shop.b"}
    rendered = render_query(tree, {"shop.a": "r0", "shop.b": "r1"})
    assert rendered == (
        'WITH "__fs_n1" AS (SELECT * FROM "r0" AS "__fs_n2") SELECT "__fs_n3"."k", "__fs_n4"."v" '
        'FROM "__fs_n1" AS "__fs_n3" JOIN "r1" AS "__fs_n4" USING ("k")'
    )


def test_the_canonical_spelling_forgets_words_and_keeps_meaning() -> None:
    assert canonical("a+  B /* c */") == canonical("a + B")
    assert canonical("lower(a)") == canonical("LOWER(a)")
    assert canonical("a = 'x'") != canonical("a = 'X'")
    assert column_names(parse_row("a + b * a")) == ("a", "b")
