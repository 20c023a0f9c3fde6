"""Expressions compiled to Python: the same bits as the engine on random rows of all types, errors included."""

import struct
from collections.abc import Iterator, Sequence
from datetime import datetime
from random import Random
from typing import Any

import pytest

from featurestore.compiler.scalar.row_function import RowFunction, compile_rows
from featurestore.engine.evaluator import Evaluator
from featurestore.errors import RequestError
from featurestore.values.value_types import ZONED
from tests.compiler.random_expressions import Expressions
from tests.compiler.random_values import COLUMNS, make_value
from tests.thorough import choose

ROWS = 12
STAMP = datetime(2024, 1, 1)  # noqa: DTZ001 - a time without a zone is no value of these types
ERROR = "an error"
PYTHON_NEEDS_ENGINE = "the engine decides"

Columns = dict[str, tuple[str, list[Any]]]


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    evaluator = Evaluator("1GB")
    yield evaluator
    evaluator.close()


def bits(value: Any) -> Any:
    """A value in a form that is equal for the same type and the same bits only; all NaNs are one."""
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("d", value)
    return type(value), repr(value)


def random_columns(chance: Random) -> Columns:
    return {name: (sql_type, [make_value(chance, name) for _ in range(ROWS)]) for name, sql_type in COLUMNS.items()}


def only_row(columns: Columns, row: int) -> Columns:
    return {name: (sql_type, [values[row]]) for name, (sql_type, values) in columns.items()}


def engine_values(evaluator: Evaluator, sql: str, columns: Columns) -> list[Any]:
    """The value of an expression in each row, or ERROR."""
    try:
        return evaluator.evaluate_in_engine([sql], columns, ROWS)[0]
    except RequestError:
        return [_engine_value(evaluator, sql, only_row(columns, row)) for row in range(ROWS)]


def _engine_value(evaluator: Evaluator, sql: str, columns: Columns) -> Any:
    try:
        return evaluator.evaluate_in_engine([sql], columns, 1)[0][0]
    except RequestError:
        return ERROR


def compiled_values(function: RowFunction, columns: Columns) -> list[Any]:
    """The value of an expression in each row, or PYTHON_NEEDS_ENGINE."""
    results = [function.evaluate([[values[row]] for _, values in columns.values()], 1) for row in range(ROWS)]
    return [PYTHON_NEEDS_ENGINE if values is None else values[0][0] for values in results]


def compare(evaluator: Evaluator, seeds: Sequence[int]) -> tuple[int, int, int]:
    """Compare an expression of each seed; returns how many were bound, were compiled, and how many rows had a value from Python."""
    bound = compiled = known = 0
    for seed in seeds:
        chance = Random(seed)
        sql, columns = Expressions(chance).any(chance.randint(1, 3)), random_columns(chance)
        try:
            function = evaluator.row_function([sql], COLUMNS)
            types = evaluator.types_of([sql], columns, ROWS)
        except RequestError:
            continue
        bound += 1
        if function is None:
            continue
        compiled += 1
        assert function.types == types, sql
        for row, (ours, theirs) in enumerate(zip(compiled_values(function, columns), engine_values(evaluator, sql, columns), strict=True)):
            if ours is not PYTHON_NEEDS_ENGINE:
                known += 1
                assert bits(ours) == bits(theirs), (seed, sql, only_row(columns, row))
    return bound, compiled, known


@pytest.mark.slow
def test_random_expressions_have_the_bits_of_the_engine(evaluator: Evaluator) -> None:
    bound, compiled, known = compare(evaluator, range(250))
    assert compiled > 0.7 * bound
    assert known > 0.7 * compiled * ROWS


@pytest.mark.slow
def test_many_more_random_expressions(evaluator: Evaluator) -> None:
    compare(evaluator, range(1_000_000, 1_000_000 + choose(400, thorough=1_500)))


def without_nulls(chance: Random, columns: Columns) -> Columns:
    """The columns with other values in place of NULL and NaN."""

    def replaced(name: str, value: Any) -> Any:
        while value is None or value != value:
            value = make_value(chance, name)
        return value

    return {name: (sql_type, [replaced(name, value) for value in values]) for name, (sql_type, values) in columns.items()}


@pytest.mark.slow
def test_whole_columns_have_the_bits_of_their_rows(evaluator: Evaluator) -> None:
    by_column = 0
    for seed in range(3_000_000, 3_000_000 + choose(150, thorough=1_500)):
        chance = Random(seed)
        sql = Expressions(chance).any(chance.randint(1, 3))
        try:
            function = evaluator.row_function([sql], COLUMNS)
        except RequestError:
            continue
        if function is None:
            continue
        columns = random_columns(chance)
        full = without_nulls(chance, columns)
        some = {name: (sql_type, [*full[name][1][:4], *values[4:]]) for name, (sql_type, values) in columns.items()}
        for given in (columns, full, some):
            rows = compiled_values(function, given)
            whole = function.evaluate([values for _, values in given.values()], ROWS)
            assert (whole is None) == (PYTHON_NEEDS_ENGINE in rows), (seed, sql)
            assert whole is None or list(map(bits, whole[0])) == list(map(bits, rows)), (seed, sql, given)
            by_column += whole is not None and given is full and function._compiled[0].by_column is not None
    assert by_column > 40


@pytest.mark.parametrize(
    "sql, full, expected",
    [
        ("coalesce(TRY(i // j), -1)", [(1, 1), (4, 2), (1, 0)], [1, 2, -1]),
        ("i IN (1, NULL)", [(1, 1), (2, 1), (1, 1)], [True, None, True]),
        ("i > 1 AND j > 1 OR i = 0", [(2, 2), (2, 1), (0, 1)], [True, False, True]),
        ("i IS NULL OR j IS NOT NULL", [(2, 2), (2, 1), (0, 1)], [True, True, True]),
        ("d * 1e308 * 10 - d * 1e308 * 10 > 0", [(2, 2), (2, 1), (0, 1)], [True, True, False]),
        ("2 > 1", [(2, 2), (2, 1), (0, 1)], [True, True, True]),
    ],
)
def test_columns_without_null_are_computed_as_a_whole(
    evaluator: Evaluator, sql: str, full: list[tuple[int, int]], expected: list[Any]
) -> None:
    columns: Columns = {
        "i": ("INTEGER", [i for i, _ in full]),
        "j": ("INTEGER", [j for _, j in full]),
        "d": ("DOUBLE", [float(i) for i, _ in full]),
    }
    function = evaluator.row_function([sql], {name: sql_type for name, (sql_type, _) in columns.items()})
    assert function is not None
    assert function.evaluate([values for _, values in columns.values()], len(full)) == [expected]
    assert evaluator.evaluate_in_engine([sql], columns, len(full)) == [expected]


@pytest.mark.parametrize(
    "sql",
    [
        "l + 1",
        "l / 100",
        "n * 1.19",
        "f * 2",
        "l // NULLIF(i, 0)",
        "CASE WHEN i = 0 THEN TRY(l % i) ELSE l % i END",
        "CASE WHEN d > 0.5 THEN 'high' WHEN d > 0.1 THEN 'middle' ELSE 'low' END",
        "coalesce(n, 0) > 10 AND NOT b",
        "i IN (1, 2, 3) OR s IN ('a', 'b')",
        "upper(trim(s)) || '-' || substring(s, 1, 3)",
        "round(d * 100, 2)",
        "ln(1 + abs(d))",
        "greatest(l, 0)",
        "date_diff('day', t, t2)",
        "epoch(t - t2) / 3600",
        "date_trunc('month', t)",
        "t > t2 - INTERVAL 7 DAYS",
        "hour(t) BETWEEN 9 AND 17",
        "t::DATE - c",
        "CAST(l AS VARCHAR)",
        "contains(s, s2)",
        "sha256(s)",
        "md5(s || 'salt')",
        "u = u2",
    ],
)
def test_common_expressions_are_compiled(evaluator: Evaluator, sql: str) -> None:
    assert evaluator.row_function([sql], COLUMNS) is not None


@pytest.mark.parametrize("sql", ["[l, l]", "sha1(s)", "s LIKE 'a%'", "strftime(t, '%Y')", "levenshtein(s, s2)", "hash_me"])
def test_other_expressions_are_left_to_the_engine(evaluator: Evaluator, sql: str) -> None:
    columns = {**COLUMNS, "hash_me": "BIGINT[]"}
    assert evaluator.row_function([sql], columns) is None
    assert evaluator.row_function(["l + 1", sql], columns) is None


@pytest.mark.parametrize("change", ["upper", "lower"])
def test_every_letter_changes_its_case_as_in_the_engine(evaluator: Evaluator, change: str) -> None:
    letters = [chr(code) for code in range(0x2000)]
    function = evaluator.row_function([f"{change}(a)"], {"a": "VARCHAR"})
    assert function is not None
    ours = [function.evaluate([[letter]], 1) for letter in letters]
    theirs = evaluator.evaluate_in_engine([f"{change}(a)"], {"a": ("VARCHAR", letters)}, len(letters))[0]
    assert [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and one[0][0] != other] == []
    assert sum(one is not None for one in ours) > 1000


def test_deep_expressions_are_left_to_the_engine(evaluator: Evaluator) -> None:
    sql = "l" + " + 1" * 300
    assert evaluator.row_function([sql], {"l": "BIGINT"}) is None
    assert evaluator.evaluate([sql], {"l": ("BIGINT", [1])}) == [[301]]


def test_errors_are_those_of_the_engine(evaluator: Evaluator) -> None:
    with pytest.raises(RequestError, match="fails on these data") as caught:
        evaluator.evaluate(["a + 1"], {"a": ("BIGINT", [1, 2**63 - 1])})
    assert "Overflow" in caught.value.details["reason"]


@pytest.mark.parametrize("sql_type, value", [("BIGINT", 1.0), ("DOUBLE", 1), ("VARCHAR", 1), ("DATE", STAMP), (ZONED, STAMP)])
def test_values_that_are_converted_first_are_left_to_the_engine(evaluator: Evaluator, sql_type: str, value: object) -> None:
    function = evaluator.row_function(["a"], {"a": sql_type})
    assert function is not None
    assert function.evaluate([[value]], 1) is None


@pytest.mark.parametrize("document", ["{}", '{"plans": []}', '{"error": true}', '{"plans": [{"type": "LOGICAL_GET"}]}', "[" * 100_000])
def test_plans_in_another_form_are_left_to_the_engine(document: str) -> None:
    assert compile_rows(document, {"a": "BIGINT"}) is None
