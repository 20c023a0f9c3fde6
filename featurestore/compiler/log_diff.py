"""SQL of the rows that a run must append: the difference between its computed rows and the log in the feature table.

The log has every version of a row, distinguished by created_timestamp. A row that is not in the log is appended. A row whose latest
version differs gets a correction, created later than the version it corrects. A stored row that is no longer computed gets a
tombstone, a correction that marks it as deleted. So a second run over the same source appends nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featurestore.compiler.expressions import quote_name
from featurestore.compiler.parameters import RUN, Bound, bound_sql
from featurestore.compiler.query import Query, Source, all_of, columns, number, same_columns, template, text_query
from featurestore.compiler.relations import Handle
from featurestore.compiler.zeros import differ_sql

CORRECTION = "__fs_correction"
DELETED = "__fs_deleted"
"""The column that is true in tombstones. It is added to a feature table with its first tombstone; NULL means false."""
LIVE_COLUMNS = ("feature_timestamp", "created_timestamp", DELETED)
"""The columns that, with the keys, determine which rows of a log are deleted."""
YEAR_1 = "TIMESTAMPTZ '0001-01-01 00:00:00+00'"
CREATED_OR_YEAR_1 = f"coalesce(created_timestamp, {YEAR_1})"
"""SQL of a row's created time; an unknown one counts as the oldest."""


@dataclass(frozen=True)
class Compared:
    """The relations that are compared: the computed and the stored rows, the latest version of each, and the rows that vanished."""

    computed: Handle
    computed_latest: Handle
    stored: Handle
    stored_latest: Handle
    vanished: Handle


COMPARED = Compared(*map(Handle, ("__fs_computed", "__fs_computed_latest", "__fs_held", "__fs_held_latest", "__fs_vanished")))
"""The relations' usual names."""


_LATEST = template(
    "SELECT * FROM $log QUALIFY row_number() OVER (PARTITION BY $keys, feature_timestamp ORDER BY created_timestamp DESC NULLS LAST) = 1"
)
_VERSIONS = template(
    f"SELECT $keys, feature_timestamp, max({CREATED_OR_YEAR_1}) AS created_timestamp,"
    f" arg_max({DELETED} IS TRUE, {CREATED_OR_YEAR_1}) AS __fs_gone FROM $log GROUP BY $keys, feature_timestamp"
)
_LIVE = template("SELECT $keys, feature_timestamp, created_timestamp FROM $versions WHERE NOT __fs_gone")
_KNOWN_BY = template(f"SELECT * FROM $log WHERE {DELETED} IS NOT TRUE OR created_timestamp <= make_timestamptz($until)")
_FIRST = template(
    "SELECT $keys, feature_timestamp, coalesce(created_timestamp, make_timestamptz($run)) AS created_timestamp,"
    f" $features, false AS {CORRECTION} FROM $rows"
)
_CREATED_AT_RUN = template("SELECT * REPLACE (make_timestamptz($run) AS created_timestamp) FROM $rows")
_VANISHED = template(f"SELECT s.* FROM $stored_latest AS s ANTI JOIN $computed AS c ON $same WHERE NOT s.{DELETED}")


def latest_versions(log: Source, keys: Sequence[str]) -> Query:
    """The latest version of every (keys, feature_timestamp); an unknown created time is the oldest."""
    return _LATEST(log=log, keys=columns(keys))


def live_rows(keys: Sequence[str], log: Source, until: int | None = None) -> Query:
    """The latest version of every row of a log that is not deleted: keys, feature_timestamp, created_timestamp (year 1 if unknown).

    The log's columns are the keys and LIVE_COLUMNS. Tombstones created after `until` (microseconds; None: no bound) are ignored.
    """
    known = log if until is None else _KNOWN_BY(log=log, until=number(until))
    return _LIVE(keys=columns(keys), versions=_VERSIONS(keys=columns(keys), log=known))


def first_rows(keys: Sequence[str], features: Iterable[str], rows: Source, run: int) -> Query:
    """The rows that a run at the time `run` (microseconds) appends to a log with no rows in the interval; keys and feature_timestamp
    must be unique in `rows`.
    """
    return _FIRST(keys=columns(keys), features=columns(features), rows=rows, run=number(run))


def with_created_at_run(rows: Source, run: int) -> Query:
    """Rows with the time of the run, in microseconds, as created_timestamp."""
    return _CREATED_AT_RUN(rows=rows, run=number(run))


def vanished_rows(keys: Sequence[str], stored_latest: Handle, computed: Handle) -> Query:
    """Stored rows that were not computed and have no tombstone yet."""
    same = all_of(same_columns([*keys, "feature_timestamp"], "s", "c"))
    return _VANISHED(stored_latest=stored_latest, computed=computed, same=same)


def appended_rows(
    keys: Sequence[str], features: Mapping[str, str], versioned: bool, relations: Compared = COMPARED, run: Bound = RUN
) -> Query:
    """The rows to append. CORRECTION is true if the log already has the keys and feature_timestamp, DELETED is true in tombstones.

    `features` maps names to types. `versioned`: the source has a created time, so each of its versions is kept. `run` is the run's
    time in UTC microseconds.
    """
    parts = [_corrections(keys, features, versioned, relations, run), _tombstones(keys, features, relations, run)]
    if versioned:
        parts.insert(0, _new_versions(keys, features, relations))
    return text_query("\nUNION ALL\n".join(parts))


def _new_versions(keys: Sequence[str], features: Iterable[str], relations: Compared) -> str:
    return (
        f"SELECT {_columns('c', keys)}, c.feature_timestamp, c.created_timestamp, {_columns('c', features)},"
        f"\n  (h.feature_timestamp IS NOT NULL OR c.created_timestamp IS DISTINCT FROM n.created_timestamp) AS {CORRECTION},"
        f" false AS {DELETED}"
        f"\nFROM (SELECT * FROM {relations.computed} c ANTI JOIN {relations.stored} h ON {_same_row(keys, 'c', 'h')}"
        f" AND c.created_timestamp IS NOT DISTINCT FROM h.created_timestamp) c"
        f"\nJOIN {relations.computed_latest} n ON {_same_row(keys, 'c', 'n')}"
        f"\nLEFT JOIN {relations.stored_latest} h ON {_same_row(keys, 'c', 'h')}"
    )


def _corrections(keys: Sequence[str], features: Mapping[str, str], versioned: bool, relations: Compared, run: Bound) -> str:
    """New and changed rows; of a versioned source only rows that changed without a newer version."""
    changed = " OR ".join(
        [f"h.{DELETED}", *(differ_sql(f"c.{quote_name(name)}", f"h.{quote_name(name)}", sql_type) for name, sql_type in features.items())]
    )
    newer = "(c.created_timestamp IS NOT NULL AND (h.created_timestamp IS NULL OR c.created_timestamp > h.created_timestamp))"
    first = f"WHEN h.feature_timestamp IS NULL THEN coalesce(c.created_timestamp, {_run_time(run)})"
    created = f"CASE {first} WHEN {newer} THEN c.created_timestamp ELSE {_correction_time('h', run)} END"
    condition = (
        f"h.feature_timestamp IS NOT NULL AND NOT {newer} AND ({changed})" if versioned else f"h.feature_timestamp IS NULL OR ({changed})"
    )
    return (
        f"SELECT {_columns('c', keys)}, c.feature_timestamp, {created} AS created_timestamp, {_columns('c', features)},"
        f"\n  h.feature_timestamp IS NOT NULL AS {CORRECTION}, false AS {DELETED}"
        f"\nFROM {relations.computed_latest} c LEFT JOIN {relations.stored_latest} h ON {_same_row(keys, 'c', 'h')}\nWHERE {condition}"
    )


def _tombstones(keys: Sequence[str], features: Iterable[str], relations: Compared, run: Bound) -> str:
    nulls = ", ".join(f"NULL AS {quote_name(feature)}" for feature in features)
    return (
        f"SELECT {_columns('v', keys)}, v.feature_timestamp, {_correction_time('v', run)} AS created_timestamp, {nulls},"
        f" true AS {CORRECTION}, true AS {DELETED}\nFROM {relations.vanished} v"
    )


def _run_time(run: Bound) -> str:
    return f"make_timestamptz({bound_sql(run)})"


def _correction_time(alias: str, run: Bound) -> str:
    """The run's time, or one microsecond after the created time of the corrected row if that is later."""
    return f"greatest({_run_time(run)}, {alias}.created_timestamp + INTERVAL 1 MICROSECOND)"


def _same_row(keys: Sequence[str], left: str, right: str) -> str:
    return " AND ".join(f"{left}.{column} = {right}.{column}" for column in [*map(quote_name, keys), "feature_timestamp"])


def _columns(alias: str, names: Iterable[str]) -> str:
    return ", ".join(f"{alias}.{quote_name(name)}" for name in names)
