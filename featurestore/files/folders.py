"""Columns in folder names of Hive-partitioned files, such as `year=2026`."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from featurestore.compiler.file_columns import NULL_FOLDER

_FOLDER = re.compile(r"(?:^|/)([^/=]+)=([^/]*)(?=/)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")


def folder_values(path: str) -> dict[str, str | None]:
    """The columns in the folder names of a path, as text; of two with the same name, the one nearest to the root."""
    values: dict[str, str | None] = {}
    for name, text in _FOLDER.findall(path):
        values.setdefault(name, None if text == NULL_FOLDER else unquote(text))
    return values


def folder_type(texts: Sequence[str | None]) -> str:
    """The type of such a column: BIGINT if its values are integers in a unique spelling, DATE for dates, else VARCHAR."""
    distinct = {text for text in texts if text is not None}
    if distinct and all(map(_WHOLE.fullmatch, distinct)) and len({int(text) for text in distinct}) == len(distinct):
        return "BIGINT"
    return "DATE" if distinct and all(map(_DATE.fullmatch, distinct)) else "VARCHAR"
