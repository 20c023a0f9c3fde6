"""Values that do not fit the type of a column: the error says whether the value is too large, not whole, or of another type."""

from decimal import Decimal
from typing import Any

import pytest

from featurestore.errors import TypeMismatch
from featurestore.values.coercion import coerce
from featurestore.values.value_types import TYPES


@pytest.mark.parametrize("sql_type", ["INTEGER", "BIGINT"])
def test_a_number_that_is_too_large_says_so_with_the_bits_of_its_type(sql_type: str) -> None:
    bits = 8 * (TYPES[sql_type].width or 0)
    last = 2 ** (bits - 1) - 1
    for number in (last, -last - 1):
        assert coerce(number, sql_type, "x") == number
    for number in (last + 1, -last - 2, Decimal(last + 1), float(4 * last), 10**20):
        with pytest.raises(TypeMismatch) as caught:
            coerce(number, sql_type, "x")
        assert caught.value.message == f"x: {number} does not fit in {sql_type} ({bits} bits)"
        assert caught.value.details == {"field": "x", "expected": sql_type}


@pytest.mark.parametrize(
    "value, sql_type, message",
    [
        (10**400, "BIGINT", "an integer of 1329 bits does not fit in BIGINT (64 bits)"),
        ([1, 2**31], "INTEGER[]", "x[1]: 2147483648 does not fit in INTEGER (32 bits)"),
        (1.5, "BIGINT", "1.5 is not a whole number, but the column is BIGINT"),
        (Decimal("0.5"), "INTEGER", "0.5 is not a whole number, but the column is INTEGER"),
        (True, "BIGINT", "True is bool, but the column is BIGINT"),
        ("7", "BIGINT", "'7' is str, but the column is BIGINT"),
        (float("inf"), "BIGINT", "inf is float, but the column is BIGINT"),
        (Decimal("NaN"), "BIGINT", "NaN is Decimal, but the column is BIGINT"),
        (10**400, "DOUBLE", "an integer of 1329 bits does not fit in DOUBLE (64 bits)"),
        (Decimal("1e400"), "DOUBLE", "1E+400 does not fit in DOUBLE (64 bits)"),
        (1e39, "FLOAT", "1e+39 does not fit in FLOAT (32 bits)"),
        ("x", "FLOAT", "'x' is str, but the column is FLOAT"),
        (1000, "DECIMAL(5,2)", "1000 does not fit in DECIMAL(5,2): 3 digits before the point, and 2 after it"),
        ("1.234", "DECIMAL(5,2)", "'1.234' does not fit in DECIMAL(5,2): 3 digits before the point, and 2 after it"),
        ("many", "DECIMAL(5,2)", "'many' is str, but the column is DECIMAL(5,2)"),
    ],
)
def test_why_a_value_does_not_fit(value: Any, sql_type: str, message: str) -> None:
    with pytest.raises(TypeMismatch) as caught:
        coerce(value, sql_type, "x")
    assert caught.value.message.removeprefix("x: ") == message
