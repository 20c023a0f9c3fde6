"""The types of request fields, keys and features: names in definitions and in DuckDB."""

import re

from featurestore.errors import brief
from featurestore.values.value_types import STORED_TYPES

_NAMES = {name: value_type.sql for value_type in STORED_TYPES for name in value_type.names}
_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")
_STORED = re.compile(rf"(?:{'|'.join(value_type.sql for value_type in STORED_TYPES)}|DECIMAL\(\d{{1,2}},\d{{1,2}}\))(?:\[\])*")


def checked_type(type_name: object) -> str:
    """Check that a stored value, which is not trusted, is a DuckDB type of feature tables. Raises ValueError."""
    if isinstance(type_name, str) and _STORED.fullmatch(type_name):
        return type_name
    raise ValueError(f"{type_name!r} is not a type that a feature table can have")


def column_type(name: object) -> str:
    """The DuckDB type of a column by its name in definitions, such as `long`, or by DuckDB's; `[]` after it makes a list.

    Raises ValueError with a message for users.
    """
    text = name.strip() if isinstance(name, str) else ""
    if text.endswith("[]"):
        return f"{column_type(text[:-2])}[]"
    try:
        return sql_type_of_name(name)  # type: ignore[arg-type]
    except ValueError as error:
        try:
            return checked_type(name)
        except ValueError:
            raise error from None


def sql_type_of_name(name: str) -> str:
    """The DuckDB type of a type name. Raises ValueError with a message for users."""
    lowered = name.strip().lower() if isinstance(name, str) else ""
    if match := _DECIMAL.fullmatch(lowered):
        precision, scale = int(match[1]), int(match[2])
        if 1 <= precision <= 38 and scale <= precision:
            return f"DECIMAL({precision},{scale})"
    if lowered in _NAMES:
        return _NAMES[lowered]
    raise ValueError(f"{brief(name)} is not a type; use one of {', '.join(sorted(_NAMES))} or decimal(p,s)")
