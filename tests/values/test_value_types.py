"""The table of value types agrees with DuckDB, Arrow and Python."""

import duckdb
import pyarrow as pa
import pytest

from featurestore.compiler.storage import storage_type
from featurestore.dsl.value_types import checked_type, sql_type_of_name
from featurestore.values.arrow_types import ARROW_TYPES, arrow_type
from featurestore.values.value_types import STORED_TYPES, TYPES, VALUE_TYPES, ValueType, decimal_digits, integer_limit

SAMPLES = {
    "BOOLEAN": "true",
    "VARCHAR": "'a'",
    "DATE": "'2026-03-31'",
    "UUID": "'6f1c3f2e-0d3b-4c55-9a55-0f6f3c0f3a10'",
    "BLOB": "'a'",
    "TIME": "'12:30:00'",
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP WITH TIME ZONE"), "'2026-03-31 12:30:00'"),
}


def each() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("value_type", VALUE_TYPES, ids=lambda value_type: value_type.sql)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    opened = duckdb.connect()
    opened.execute("SET timezone='UTC'")
    return opened


@each()
def test_a_value_has_the_types_of_its_row(connection: duckdb.DuckDBPyConnection, value_type: ValueType) -> None:
    query = f"SELECT CAST({SAMPLES.get(value_type.sql, '1')} AS {value_type.sql}) AS v"
    assert str(connection.sql(query).types[0]) == value_type.sql
    if value_type.arrow is None:
        assert value_type.sql not in ARROW_TYPES
        return
    # Without it DuckDB gives UUIDs as text, and with it truth values as bytes.
    connection.execute(f"SET arrow_lossless_conversion={value_type.sql == 'UUID'}")
    column = connection.sql(query).to_arrow_table().column("v")
    assert column.type == ARROW_TYPES[value_type.sql]
    assert str(column.type) == value_type.arrow
    assert type(column[0].as_py()) is value_type.python


@each()
def test_the_width_is_that_of_arrow(value_type: ValueType) -> None:
    if value_type.arrow is None or value_type.sql == "BOOLEAN":
        return
    arrow = ARROW_TYPES[value_type.sql]
    storage = arrow.storage_type if isinstance(arrow, pa.BaseExtensionType) else arrow
    try:
        width = storage.bit_width // 8
    except ValueError:
        width = None
    assert width == value_type.width


@each()
def test_what_a_feature_table_stores_is_a_type_of_feature_tables(value_type: ValueType) -> None:
    if value_type.stored is None:
        assert value_type.names == ()
        return
    assert storage_type(value_type.sql) == value_type.stored
    assert checked_type(value_type.stored) == value_type.stored
    assert storage_type(value_type.stored) == value_type.stored
    assert [sql_type_of_name(name) for name in value_type.names] == [value_type.sql] * len(value_type.names)


def test_nested_types_and_decimals() -> None:
    assert arrow_type("DECIMAL(12,2)[][]") == pa.list_(pa.list_(pa.decimal128(12, 2)))
    assert arrow_type("UUID[]") == pa.list_(pa.uuid())
    assert decimal_digits("DECIMAL(12,2)") == (12, 2)
    assert decimal_digits("DECIMAL(12,2)[]") is decimal_digits("DOUBLE") is None
    with pytest.raises(KeyError):
        arrow_type("HUGEINT")


def test_integer_limits() -> None:
    assert (integer_limit("INTEGER"), integer_limit("BIGINT")) == (2**31, 2**63)


def test_every_type_is_there_once() -> None:
    assert len(TYPES) == len(VALUE_TYPES)
    names = [name for value_type in STORED_TYPES for name in value_type.names]
    assert len(set(names)) == len(names)
