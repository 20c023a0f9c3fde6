"""Queries from templates: every name is a quoted identifier, and a query is the same text however often it is written."""

import duckdb
import pytest

from featurestore.compiler.chunk_rows import cast_rows, in_file_order, rows_between
from featurestore.compiler.query import Query, all_rows, columns, columns_of, count_rows, number, render, template, text_query
from featurestore.compiler.relations import Handle

ROWS = Handle('a "table"; DROP')
HOSTILE = 'x"; DROP TABLE t; --'
TYPES = (
    *"BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UBIGINT UHUGEINT FLOAT DOUBLE VARCHAR BLOB UUID DATE TIME TIMESTAMP".split(),
    *(
        "TIMESTAMP WITH TIME ZONE",
        "TIMESTAMP_NS",
        "DECIMAL(38,10)",
        "BIGINT[][]",
        'STRUCT(a BIGINT, "b c" VARCHAR[])',
        "MAP(VARCHAR, BIGINT)",
    ),
)


def test_names_are_quoted_wherever_they_stand() -> None:
    query = columns_of(ROWS, [HOSTILE, "order"], [HOSTILE])
    quoted = '"x""; DROP TABLE t; --"'
    assert str(query) == f'SELECT {quoted}, "order" FROM "a ""table""; DROP" ORDER BY {quoted}'
    with duckdb.connect() as connection:
        assert len(connection.extract_statements(str(query))) == 1


def test_a_list_may_have_no_part_or_several() -> None:
    query = template("SELECT 1, $more FROM $rows ORDER BY $order")
    assert str(query(more=[], rows=ROWS, order=columns("ab"))) == 'SELECT 1 FROM "a ""table""; DROP" ORDER BY "a", "b"'


def test_a_part_may_be_used_twice() -> None:
    query = template("SELECT $keys, count(*) AS n FROM $rows GROUP BY $keys")(keys=columns("kj"), rows=Handle("t"))
    assert str(query) == 'SELECT "k", "j", COUNT(*) AS n FROM "t" GROUP BY "k", "j"'


@pytest.mark.parametrize("written_before", [False, True])
def test_a_query_inside_of_another_keeps_its_text(written_before: bool) -> None:
    inner = rows_between(text_query("SELECT TIMESTAMPTZ '2026-01-01' AS feature_timestamp"), -5, 5)
    before = str(inner) if written_before else None
    outer = str(count_rows(inner))
    assert f"({inner})" in outer
    assert before is None or str(inner) == before


def test_another_dialect_gets_another_text() -> None:
    inner = text_query('SELECT "a", epoch_us(t) AS t FROM "x"')
    assert render(all_rows(inner)) == 'SELECT * FROM (SELECT "a", epoch_us(t) AS t FROM "x")'
    assert "`a`" in render(all_rows(inner), "spark")


@pytest.mark.parametrize("sql_type", TYPES)
def test_a_type_stays_what_it_is(sql_type: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f'CREATE TABLE t AS SELECT CAST(NULL AS {sql_type}) AS "c"')
        expected = connection.execute("DESCRIBE t").fetchall()[0][1]
        rows = connection.execute(f"DESCRIBE {cast_rows({'c': expected}, Handle('t'))}").fetchall()[0][1]
    assert rows == expected


def test_rows_are_sorted_by_day_first() -> None:
    sql = str(in_file_order(Query(all_rows(Handle("t")).tree), ["k"], ["created_timestamp"]))
    assert sql.endswith('ORDER BY CAST("feature_timestamp" AS DATE), "k", "feature_timestamp", "created_timestamp"')


@pytest.mark.parametrize("value", [0, -1, 2**62, -(2**63)])
def test_a_number_is_what_it_was(value: int) -> None:
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {number(value).sql('duckdb')}").fetchall() == [(value,)]
