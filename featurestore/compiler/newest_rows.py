"""Queries of the newest row of every key of a log, which the online store serves."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from featurestore.compiler.log_diff import CREATED_OR_YEAR_1, DELETED, YEAR_1, live_rows
from featurestore.compiler.query import Query, Source, all_of, columns, same_columns, template

Which: TypeAlias = Literal["SEMI", "ANTI"]
"""Which keys of a log are read: those of another relation, or all others."""

_DELETED_KEYS = template(f"SELECT DISTINCT $keys FROM $log WHERE {DELETED}")
_KEYS = template("SELECT DISTINCT $keys FROM $log")
_REPEATED = template("SELECT 1 FROM $log GROUP BY $keys HAVING count(*) > 1 LIMIT 1")
_BOTH = template("SELECT $columns FROM (SELECT * FROM $first UNION ALL SELECT * FROM $second) ORDER BY $keys")
_OF_KEYS = template("SELECT l.* FROM $log AS l SEMI JOIN $others AS o ON $same")
_OF_OTHER_KEYS = template("SELECT l.* FROM $log AS l ANTI JOIN $others AS o ON $same")
_ALL_VERSIONS = template(f"SELECT * REPLACE ({CREATED_OR_YEAR_1} AS created_timestamp) FROM $log")
_NEWEST_TIMES = template(
    "SELECT $keys, max(struct_pack(feature := feature_timestamp, created := created_timestamp)) AS __fs_at FROM $versions GROUP BY $keys"
)
_TIMES = template("SELECT $keys, __fs_at.feature AS __fs_feature, __fs_at.created AS __fs_created FROM $newest")
_NEWEST = template(
    "SELECT $columns FROM $wide AS l SEMI JOIN $times AS n ON $same AND l.feature_timestamp = n.__fs_feature"
    f" AND coalesce(l.created_timestamp, {YEAR_1}) = n.__fs_created ORDER BY $order"
)


def deleted_keys(log: Source, keys: Sequence[str]) -> Query:
    """The distinct keys that have tombstones in a log."""
    return _DELETED_KEYS(log=log, keys=columns(keys))


def all_keys(log: Source, keys: Sequence[str]) -> Query:
    """The distinct keys of a log."""
    return _KEYS(log=log, keys=columns(keys))


def repeated_key(log: Source, keys: Sequence[str]) -> Query:
    """One row if some key has several rows, else none."""
    return _REPEATED(log=log, keys=columns(keys))


def both_in_key_order(first: Source, second: Source, keys: Sequence[str], names: Sequence[str]) -> Query:
    """The rows of two relations with the same columns, ordered by key."""
    return _BOTH(first=first, second=second, keys=columns(keys), columns=columns(names))


def rows_of_keys(log: Source, keys: Sequence[str], others: Source, which: Which) -> Query:
    """The rows of a log whose keys are among those of another relation (SEMI), or are not (ANTI)."""
    of_keys = _OF_KEYS if which == "SEMI" else _OF_OTHER_KEYS
    return of_keys(log=log, others=others, same=all_of(same_columns(keys, "l", "o")))


def newest_rows(narrow: Source, wide: Source, keys: Sequence[str], names: Sequence[str], deletions: bool) -> Query:
    """The columns `names` of the newest row of every key, ordered by key; a key whose newest row is deleted has the one before.

    `narrow` has the keys and times of a log, and DELETED with `deletions`; `wide` has the columns `names` of the same log. Reading
    keys and times first leaves most row groups of the other columns out. The engine hashes an aggregate, but not a table of the same
    rows, whose size it cannot compare with that of files. (`arg_max` of whole rows, in one pass, makes -0.0 of them 0.0.)
    """
    versions = live_rows(keys, narrow) if deletions else _ALL_VERSIONS(log=narrow)
    times = _TIMES(newest=_NEWEST_TIMES(versions=versions, keys=columns(keys)), keys=columns(keys))
    same = all_of(same_columns(keys, "l", "n"))
    return _NEWEST(wide=wide, times=times, same=same, columns=columns(names, "l"), order=columns(keys, "l"))
