"""Columns in folder names of Hive-partitioned files, such as `year=2026`."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from featurestore.compiler.file_columns import NULL_FOLDER
from featurestore.dsl.value_types import sql_type_of_name
from featurestore.errors import RequestError

_FOLDER = re.compile(r"(?:^|/)([^/=]+)=([^/]*)(?=/)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_PATTERNS = {"BIGINT": _WHOLE, "DATE": _DATE}


def folder_values(path: str) -> dict[str, str | None]:
    """The columns in the folder names of a path, as text; of two with the same name, the one nearest to the root."""
    values: dict[str, str | None] = {}
    for name, text in _FOLDER.findall(path):
        values.setdefault(name, None if text == NULL_FOLDER else unquote(text))
    return values


def folder_types(path_values: Sequence[Mapping[str, str | None]], declared: Mapping[str, str]) -> dict[str, str]:
    """The type of each column in the folder names of files: the one that is declared for its name, else the one that fits all values.

    Raises: RequestError naming a value that does not have the declared type.
    """
    types: dict[str, str] = {}
    wanted = {name.lower(): sql_type_of_name(type_name) for name, type_name in declared.items()}
    for name in dict.fromkeys(name for values in path_values for name in values):
        texts = [values.get(name) for values in path_values]
        types[name] = wanted.get(name.lower()) or folder_type(texts)
        fits = _PATTERNS.get(types[name])
        wrong = None if fits is None else next((text for text in texts if text is not None and not fits.fullmatch(text)), None)
        if wrong is not None:
            raise RequestError(
                f"the folder {name}={wrong} has no {types[name]}, as others have; declare its type: partitions={{{name!r}: 'string'}}",
                column=name,
                value=wrong,
            )
    return types


def folder_type(texts: Sequence[str | None]) -> str:
    """The type of such a column: BIGINT if its values are integers in a unique spelling, DATE for dates, else VARCHAR."""
    distinct = {text for text in texts if text is not None}
    if distinct and all(map(_WHOLE.fullmatch, distinct)) and len({int(text) for text in distinct}) == len(distinct):
        return "BIGINT"
    return "DATE" if distinct and all(map(_DATE.fullmatch, distinct)) else "VARCHAR"
