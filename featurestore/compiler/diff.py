"""What a run must append: the difference between the rows it computed and the log that the feature table holds.

The log holds every version of a row, told apart by created_timestamp. A row that the log lacks is appended; a row
whose latest version differs gets a correction, created later than what it corrects; a held row that was not computed
any more gets a tombstone, a correction that says that there is no such row. So a second run over the same source appends nothing.
"""

from collections.abc import Iterable, Mapping, Sequence

from featurestore.compiler.expressions import quoted
from featurestore.compiler.zeros import differ

HELD = "__fs_held"
HELD_LATEST = "__fs_held_latest"
COMPUTED = "__fs_computed"
COMPUTED_LATEST = "__fs_computed_latest"
APPENDED = "__fs_appended"
VANISHED = "__fs_vanished"
CORRECTION = "__fs_correction"
DELETED = "__fs_deleted"
"""The column that is true in tombstones. A feature table gets it with its first one, and NULL is false."""
LIVING = ("feature_timestamp", "created_timestamp", DELETED)
"""What tells, with the keys, which rows of a log are deleted."""
YEAR_1 = "TIMESTAMPTZ '0001-01-01 00:00:00+00'"
CREATED = f"coalesce(created_timestamp, {YEAR_1})"
"""When a row became known, as SQL: an unknown time is the oldest."""


def latest(relation: str, keys: Sequence[str]) -> str:
    """The latest version of every (keys, feature_timestamp); an unknown created time is the oldest."""
    partition = ", ".join([*map(quoted, keys), "feature_timestamp"])
    return f"SELECT * FROM {relation} QUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY created_timestamp DESC NULLS LAST) = 1"


def living(keys: Sequence[str], log: str, until: int | None = None) -> str:
    """The keys, feature_timestamp and created_timestamp (the year 1 where it is not known) of the rows of a log, whose columns are keys
    and LIVING, that are not deleted: of every row the latest version.

    Tombstones that were created after `until` (microseconds; None: no bound) do not count.
    """
    row = ", ".join([*map(quoted, keys), "feature_timestamp"])
    late = f" WHERE {DELETED} IS NOT TRUE OR created_timestamp <= make_timestamptz({until})" if until is not None else ""
    versions = f"SELECT {row}, max({CREATED}) AS created_timestamp, arg_max({DELETED} IS TRUE, {CREATED}) AS __fs_gone FROM {log}{late}"
    return f"SELECT {row}, created_timestamp FROM ({versions} GROUP BY {row}) WHERE NOT __fs_gone"


def first_rows(keys: Sequence[str], features: Iterable[str], rows: str = COMPUTED) -> str:
    """The rows to append to a log that holds nothing of the interval; no two of `rows` share keys and feature_timestamp."""
    created = f"coalesce(c.created_timestamp, {_run()}) AS created_timestamp"
    return f"SELECT {_columns('c', keys)}, c.feature_timestamp, {created}, {_columns('c', features)}, false AS {CORRECTION} FROM {rows} c"


def vanished(keys: Sequence[str]) -> str:
    """Held rows that were not computed and have no tombstone yet."""
    return f"SELECT h.* FROM {HELD_LATEST} h ANTI JOIN {COMPUTED} c ON {_same_row(keys, 'h', 'c')} WHERE NOT h.{DELETED}"


def appended(keys: Sequence[str], features: Mapping[str, str], versioned: bool) -> str:
    """The rows to append, with CORRECTION true where the log already holds the keys and feature_timestamp, and DELETED in tombstones.

    `features` have their types. `versioned`: the source tells when each row became known, so each version it knew is kept. The
    variable `run` is the run's time in UTC microseconds.
    """
    parts = [_corrections(keys, features, versioned), _gone(keys, features)]
    if versioned:
        parts.insert(0, _new_versions(keys, features))
    return "\nUNION ALL\n".join(parts)


def _new_versions(keys: Sequence[str], features: Iterable[str]) -> str:
    return (
        f"SELECT {_columns('c', keys)}, c.feature_timestamp, c.created_timestamp, {_columns('c', features)},"
        f"\n  (h.feature_timestamp IS NOT NULL OR c.created_timestamp IS DISTINCT FROM n.created_timestamp) AS {CORRECTION},"
        f" false AS {DELETED}"
        f"\nFROM (SELECT * FROM {COMPUTED} c ANTI JOIN {HELD} h ON {_same_row(keys, 'c', 'h')}"
        f" AND c.created_timestamp IS NOT DISTINCT FROM h.created_timestamp) c"
        f"\nJOIN {COMPUTED_LATEST} n ON {_same_row(keys, 'c', 'n')}\nLEFT JOIN {HELD_LATEST} h ON {_same_row(keys, 'c', 'h')}"
    )


def _corrections(keys: Sequence[str], features: Mapping[str, str], versioned: bool) -> str:
    """New rows and changed ones; of a versioned source only rows that changed without a newer version to say so."""
    changed = " OR ".join([f"h.{DELETED}", *(differ(f"c.{quoted(name)}", f"h.{quoted(name)}", kind) for name, kind in features.items())])
    newer = "(c.created_timestamp IS NOT NULL AND (h.created_timestamp IS NULL OR c.created_timestamp > h.created_timestamp))"
    first = f"WHEN h.feature_timestamp IS NULL THEN coalesce(c.created_timestamp, {_run()})"
    created = f"CASE {first} WHEN {newer} THEN c.created_timestamp ELSE {_after('h')} END"
    wanted = (
        f"h.feature_timestamp IS NOT NULL AND NOT {newer} AND ({changed})" if versioned else f"h.feature_timestamp IS NULL OR ({changed})"
    )
    return (
        f"SELECT {_columns('c', keys)}, c.feature_timestamp, {created} AS created_timestamp, {_columns('c', features)},"
        f"\n  h.feature_timestamp IS NOT NULL AS {CORRECTION}, false AS {DELETED}"
        f"\nFROM {COMPUTED_LATEST} c LEFT JOIN {HELD_LATEST} h ON {_same_row(keys, 'c', 'h')}\nWHERE {wanted}"
    )


def _gone(keys: Sequence[str], features: Iterable[str]) -> str:
    nulls = ", ".join(f"NULL AS {quoted(feature)}" for feature in features)
    return (
        f"SELECT {_columns('v', keys)}, v.feature_timestamp, {_after('v')} AS created_timestamp, {nulls},"
        f" true AS {CORRECTION}, true AS {DELETED}\nFROM {VANISHED} v"
    )


def _run() -> str:
    return "make_timestamptz(getvariable('run'))"


def _after(alias: str) -> str:
    """The run's time, or just after the created time of the row that is corrected when that is later."""
    return f"greatest({_run()}, {alias}.created_timestamp + INTERVAL 1 MICROSECOND)"


def _same_row(keys: Sequence[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in [*map(quoted, keys), "feature_timestamp"])


def _columns(alias: str, names: Iterable[str]) -> str:
    return ", ".join(f"{alias}.{quoted(name)}" for name in names)
