"""The query of a spine that asks for every key at regular points in time."""

from collections.abc import Sequence
from functools import reduce

from sqlglot import exp

from featurestore.compiler.log_diff import live_rows
from featurestore.compiler.query import Query, Source, all_of, column, columns, number, source, template, with_name
from featurestore.compiler.service_plan import ViewUse

_KEYS = template("SELECT DISTINCT $columns FROM $rows WHERE $condition AND feature_timestamp <= make_timestamptz($end)")
_POINTS = template("SELECT make_timestamptz(unnest(range($start, $end, $every))) AS __fs_t")
_GRID = template("SELECT $keys, __fs_t AS $timestamp FROM $all_keys CROSS JOIN $points ORDER BY $keys, __fs_t")


def keys_of_view(log: Source, use: ViewUse, names: Sequence[str], end: int, *, deletions: bool, until: int | None) -> Query:
    """The distinct keys of a view's log, under the service's `names` for them, with a row at or before `end` that is not deleted.

    `deletions`: the log has the column DELETED. Deletions created after `until` do not count (None: all count). Times are microseconds.
    """
    keys = [key for key, _ in use.keys]
    key_of = {name: key for key, name in use.keys}
    return _KEYS(
        columns=[with_name(column(key_of[name]), name) for name in names],
        rows=live_rows(keys, log, until) if deletions else log,
        condition=all_of([exp.Not(this=exp.Is(this=column(key), expression=exp.Null())) for key in keys]),
        end=number(end),
    )


def key_grid(keys_of_views: Sequence[Query], names: Sequence[str], timestamp: str, start: int, end: int, every: int) -> Query:
    """Each distinct key at each point from `start` to `end`, inclusive, in steps of `every` microseconds, in order."""
    union = reduce(lambda left, right: exp.Union(this=left, expression=right, distinct=True), (query.tree for query in keys_of_views))
    return _GRID(
        keys=columns(names),
        timestamp=exp.to_identifier(timestamp, quoted=True),
        all_keys=source(Query(union), "k"),
        points=source(_POINTS(start=number(start), end=number(end + 1), every=number(every)), "p"),
    )
