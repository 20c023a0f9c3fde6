"""Queries of the keys whose events changed, and of their rows: a run recomputes these keys, each from its first change on."""

from collections.abc import Mapping, Sequence

from sqlglot import exp

from featurestore.compiler.events import TIME, Events
from featurestore.compiler.expressions import quote_name
from featurestore.compiler.query import Query, Source, all_of, column, columns, same_columns, template, text_expression
from featurestore.compiler.zeros import has_zeros, zero_signs

SINCE = "__fs_since"
"""The column with a key's first change, in microseconds."""

_DIFFERENCE = template(
    "(SELECT *, $signs FROM $added EXCEPT ALL SELECT *, $signs FROM $removed)"
    " UNION ALL (SELECT *, $signs FROM $removed EXCEPT ALL SELECT *, $signs FROM $added)"
)
_KEYS = template(f"SELECT $keys, min(epoch_us({TIME})) AS {SINCE} FROM $events GROUP BY $keys")
_FIRST = template(f"SELECT min({SINCE}) AS first FROM $changed")
_ROWS = template("SELECT r.* FROM $rows AS r SEMI JOIN $changed AS s ON $same")
_SINCE = template(f"SELECT r.* FROM $rows AS r SEMI JOIN $changed AS s ON $same AND epoch_us(r.feature_timestamp) >= s.{SINCE}")


def event_difference(added: Source, removed: Source, types: Mapping[str, str]) -> Query:
    """The events that are in one relation and not in the other, counted; `types` are those of their columns.

    The signs of zeros are compared as well, because -0.0 equals 0.0 in SQL.
    """
    signs = [text_expression(zero_signs(quote_name(name), sql_type)) for name, sql_type in types.items() if has_zeros(sql_type)]
    return _DIFFERENCE(added=added, removed=removed, signs=signs)


def changed_keys(keys: Sequence[str], changed_events: Source) -> Query:
    """The distinct keys of events, each with the time of its first event as SINCE."""
    return _KEYS(keys=columns(keys), events=changed_events)


def first_change(changed: Source) -> Query:
    """One row with the least SINCE as `first`; NULL if no key changed."""
    return _FIRST(changed=changed)


def source_rows_of_changed(events: Events, rows: Source, changed: Source) -> Query:
    """The raw rows of a view's source whose keys changed."""
    pairs = zip(events.raw_keys, events.keys, strict=True)
    same = [exp.EQ(this=column(raw, "r"), expression=column(key, "s")) for raw, key in pairs]
    return _ROWS(rows=rows, changed=changed, same=all_of(same))


def feature_rows_of_changed(keys: Sequence[str], rows: Source, changed: Source) -> Query:
    """The feature rows whose keys changed, from each key's first change on."""
    return _SINCE(rows=rows, changed=changed, same=all_of(same_columns(keys, "r", "s")))
