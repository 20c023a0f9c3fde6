"""The Arrow types of the value types, and of lists and decimals of them."""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa

from featurestore.values.value_types import VALUE_TYPES, decimal_digits

_WITHOUT_ALIAS = {str(arrow): arrow for arrow in (pa.uuid(), pa.timestamp("us", tz="UTC"))}
"""The types that Arrow cannot find by name."""

ARROW_TYPES: Mapping[str, pa.DataType] = MappingProxyType(
    {
        value_type.sql: _WITHOUT_ALIAS.get(value_type.arrow) or pa.type_for_alias(value_type.arrow)
        for value_type in VALUE_TYPES
        if value_type.arrow is not None
    }
)
"""The Arrow type of each scalar DuckDB type that has one."""


def arrow_type(sql_type: str, scalars: Mapping[str, pa.DataType] = ARROW_TYPES) -> pa.DataType:
    """The Arrow type of a DuckDB type of feature tables; `scalars` may have others for scalars. Raises: KeyError for another type."""
    if sql_type.endswith("[]"):
        return pa.list_(arrow_type(sql_type[:-2], scalars))
    if (digits := decimal_digits(sql_type)) is not None:
        return pa.decimal128(*digits)
    return scalars[sql_type]
