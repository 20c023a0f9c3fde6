"""Which row expressions take linear time."""

import pytest
from sqlglot import exp

from featurestore.compiler import functions
from featurestore.compiler.expressions import parse_row
from featurestore.compiler.linear import are_linear, expression_weight

LINEAR = (
    "a + b * 2 / 3 - 1.0",
    "CASE WHEN a > 1 AND b < 2 OR NOT c THEN 1 ELSE 2 END",
    "TRY_CAST(CAST(a AS BIGINT) AS DATE)",
    "a || b",
    "coalesce(nullif(a, 0), greatest(b, c))",
    "[a, b][1]",
    "date_diff('day', t, u) + epoch(t - INTERVAL 1 DAY)",
    "a IN (1, 2) AND b BETWEEN 1 AND 2 AND c IS NULL",
    "upper(trim(substring(a, 1, 3)))",
    "list_sum(a) // list_max(a) % 2",
    "strftime(t AT TIME ZONE 'UTC', '%Y')",
)
NOT_LINEAR = (
    "levenshtein(a, b)",
    "1 + CASE WHEN jaccard(a, b) > 0 THEN 1 END",
    "a LIKE '%x%y%'",
    "a NOT ILIKE 'x'",
    "a SIMILAR TO 'x'",
    "regexp_matches(a, 'x')",
    "trim(a, b)",
    "rtrim(a, b)",
    "repeat(a, 100000)",
    "lpad(a, 100000, 'x')",
    "replace(a, 'x', b)",
    "contains(a, b)",
    "string_split(a, b)",
    "length(translate(a, b, c))",
    "t AT TIME ZONE a",
    "len(CAST(a AS BIGINT[][]))",
    "TRY_CAST(a AS VARCHAR[])[1]",
    "CAST(a AS MAP(VARCHAR, VARCHAR))['x']",
    "CAST(a AS STRUCT(x VARCHAR)) IS NULL",
    "hex(hex(a))",
    "concat('', [concat('', [a])])",
    "bar(a, 0, 1, 1000)",
    f"t AT TIME ZONE '{'x' * 2000}'",
)


@pytest.mark.parametrize("sql", LINEAR)
def test_linear(sql: str) -> None:
    assert are_linear([parse_row(sql)])


@pytest.mark.parametrize("sql", NOT_LINEAR)
def test_not_linear(sql: str) -> None:
    assert not are_linear([parse_row(sql)])
    assert not are_linear([parse_row("a"), parse_row(sql)])


def test_every_linear_function_is_on_the_allowlist() -> None:
    assert functions.LINEAR_FUNCTIONS < functions.ROW_FUNCTIONS
    assert functions.LINEAR_ANONYMOUS_FUNCTIONS < functions.ANONYMOUS_ROW_FUNCTIONS
    assert all(hasattr(exp, name) for name in functions.LINEAR_FUNCTIONS)


def test_weight_grows_with_parts_and_constants() -> None:
    assert (
        expression_weight([parse_row("a")])
        < expression_weight([parse_row("a || a")])
        < expression_weight([parse_row("a || a"), parse_row("a")])
    )
    assert expression_weight([parse_row(f"a || '{'x' * 900}'")]) > 900
