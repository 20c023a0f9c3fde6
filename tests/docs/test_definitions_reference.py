"""The reference of definitions names every public name and argument, and nothing else."""

import dataclasses
import inspect
import re
from pathlib import Path

import duckdb
import pytest

from featurestore import Entity, FeatureService, FeatureView, Source, agg, check
from featurestore.compiler.expressions import SqlProblem, parse_query, parse_row

DOCS = Path(__file__).parent.parent.parent / "docs"
ARGUMENTS = ("", "a", "a, b", "a, b, c", "b IN a", "year FROM a", "'day', a", "'day', a, b", "a, 'sum'")
SYNTAX = {"coalesce", "date", "extract", "ifnull"}
"""Calls that DuckDB's parser knows, not its catalog of functions."""


def section(page: str, title: str) -> str:
    """The text below a heading, to the next one."""
    return re.split(r"^#+ .*$", (DOCS / page).read_text(), flags=re.MULTILINE)[_headings(page).index(title) + 1]


def _headings(page: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", (DOCS / page).read_text(), flags=re.MULTILINE)


def first_cells(text: str) -> set[str]:
    """Every name in backticks in the first column of a table."""
    cells = re.findall(r"^\|([^|]*)\|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)", cell)}


@pytest.mark.parametrize("kind", [Entity, Source, FeatureView, FeatureService])
def test_every_argument_is_described(kind: type) -> None:
    fields = {field.name for field in dataclasses.fields(kind)}
    described = first_cells(section("definitions.md", kind.__name__))
    assert described - {"a"} >= fields
    assert described <= fields


def test_every_aggregation_is_described() -> None:
    known = {name for name, value in vars(agg).items() if inspect.isfunction(value) and value.__module__ == agg.__name__}
    assert first_cells(section("definitions.md", "Aggregations")) == known


def test_every_check_is_described() -> None:
    known = {name for name, value in vars(check).items() if inspect.isfunction(value) and value.__module__ == check.__name__}
    assert first_cells(section("checks.md", "Checks")) == known


@pytest.mark.slow
def test_every_function_of_row_sql_is_listed_and_every_listed_one_is_allowed() -> None:
    table = "\n".join(line for line in section("sql.md", "Row SQL").splitlines() if line.startswith("|"))
    listed = set(re.findall(r"`(\w+)`", table))
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro')"
        ).fetchall()
    known = {str(name) for (name,) in rows if str(name).isidentifier()} | SYNTAX
    assert listed <= known
    assert listed == {name for name in known if _row_sql_allows(name)}


def test_every_aggregate_listed_for_queries_is_allowed() -> None:
    text = section("sql.md", "Queries").partition("these aggregates:")[2].partition(".\n")[0]
    for name in re.findall(r"`(\w+)`", text):
        assert any(_query_is_allowed(f"SELECT {name}({arguments}) FROM n.t") for arguments in ("a", "a, b", "a, 0.5")), name


def _row_sql_allows(name: str) -> bool:
    for arguments in ARGUMENTS:
        try:
            parse_row(f"{name}({arguments})")
        except SqlProblem:
            continue
        return True
    return False


def _query_is_allowed(sql: str) -> bool:
    try:
        parse_query(sql)
    except SqlProblem:
        return False
    return True
