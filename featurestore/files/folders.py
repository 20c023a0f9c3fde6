"""Columns that are written in the names of folders, such as `year=2026`, as partitioned files have them."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from featurestore.compiler.expressions import literal
from featurestore.compiler.relations import FILE

_FOLDER = re.compile(r"(?:^|/)([^/=]+)=([^/]*)(?=/)")
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def values(path: str) -> dict[str, str | None]:
    """The columns that the folders of a path tell, as text; the folder nearest to the root where two have one name."""
    found: dict[str, str | None] = {}
    for name, text in _FOLDER.findall(path):
        found.setdefault(name, None if text == _NULL else unquote(text))
    return found


def kind(texts: Sequence[str | None]) -> str:
    """The type of such a column: BIGINT where every value is a whole number of its own, DATE for dates, else VARCHAR."""
    given = {text for text in texts if text is not None}
    if given and all(map(_WHOLE.fullmatch, given)) and len({int(text) for text in given}) == len(given):
        return "BIGINT"
    return "DATE" if given and all(map(_DATE.fullmatch, given)) else "VARCHAR"


def value_sql(name: str, kind: str) -> str:
    """SQL over FILE of the column's value."""
    text = f"url_decode(regexp_extract({FILE}, {literal(f'(?:^|/){re.escape(name)}=([^/]*)/')}, 1))"
    return f"CAST(nullif({text}, {literal(_NULL)}) AS {kind})"
