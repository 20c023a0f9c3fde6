"""What a request or a call names: the values of fields that never have values of rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from featurestore.values.table_names import local_name

LONGEST, MOST = 200, 20
"""Characters of a name, and names in a list, that are recorded."""
MOST_SNAPSHOTS = 50
NAMED = frozenset(
    "a alias approver as_of b dry_run full groups id id_or_model_uri known label mode model name names on privilege service services shadow"
    " snapshot table tables timestamp to version view views".split()
)
"""Fields of bodies and queries, and arguments, that have names of objects."""
TABLES = ("on", "table", "tables")
"""Those that name tables, `on` after the kind of object."""
SNAPSHOTS = ("snapshots", "at")
"""Fields with the snapshots of tables."""


def find_names(document: Mapping[str, Any], catalog: str) -> Iterator[tuple[str, Any]]:
    """The fields that are recorded, cut to bounds. Tables have their names within the catalog of this name, however they were written."""
    for name, value in document.items():
        if name in TABLES:
            value = _local(value, catalog)
        if name in NAMED and _is_plain(value):
            yield name, shorten(value) if isinstance(value, str) else value
        elif name in NAMED and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            yield name, [shorten(item) for item in value[:MOST]]
        elif name in SNAPSHOTS and isinstance(value, dict) and all(_is_plain(item) for item in value.values()):
            yield name, {shorten(table): shorten(str(item)) for table, item in list(value.items())[:MOST_SNAPSHOTS]}
        elif name == "spine" and isinstance(value, dict) and isinstance(value.get("table"), str):
            yield name, shorten(local_name(value["table"], catalog))


def shorten(value: Any) -> str:
    """A text of at most LONGEST characters."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _local(value: Any, catalog: str) -> Any:
    if isinstance(value, list | tuple):
        return [_local(item, catalog) for item in value]
    kind, space, name = value.rpartition(" ") if isinstance(value, str) else ("", "", "")
    return f"{kind}{space}{local_name(name, catalog)}" if name else value


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**63)
