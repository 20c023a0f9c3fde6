"""The point-in-time join of one view: for every spine row at t, the view's row as of t.

The spine relation has ROW (a unique row number), T (the spine row's time) and the keys k0, k1, ... under those names;
the feature relation has the feature table's columns. Unmatched spine rows keep NULLs, and NULL keys match nothing.
"""

from featurestore.compiler.expressions import quoted
from featurestore.compiler.service_plan import ViewUse

ROW = "__fs_row"
T = "__fs_t"
FEATURE_TIME = "__fs_feature_time"
CREATED_TIME = "__fs_created_time"
KNOWN = ("now", "then")


def key_column(index: int) -> str:
    """The spine's column for the key at this position of the entity's keys."""
    return f"__fs_k{index}"


def as_of_join(use: ViewUse, spine: str, features: str, *, known: str, corrected: bool) -> str:
    """Rows of ROW, FEATURE_TIME, CREATED_TIME and the features under their output names; one for each spine row.

    `known` "now" takes the latest version of each row, "then" only what was created by t. `corrected` False promises
    that the feature relation has one version of every row, so that "now" need not choose.
    """
    keys = [quoted(key) for key, _ in use.keys]
    values = [quoted(name) for name in dict.fromkeys(column for column, _ in use.features)]
    if known == "then":
        rows, at = _known_then(keys, values, features), "f.__fs_available"
    else:
        rows, at = _latest(keys, values, features) if corrected else f"SELECT * FROM {features}", "f.feature_timestamp"
    on = " AND ".join(f"s.{key_column(index)} = f.{key}" for index, key in enumerate(keys))
    fresh = f"epoch_us(s.{T}) - epoch_us(f.feature_timestamp) <= {use.ttl}" if use.ttl is not None else None
    columns = [
        ("f.feature_timestamp", FEATURE_TIME),
        ("f.created_timestamp", CREATED_TIME),
        *((f"f.{quoted(c)}", quoted(n)) for c, n in use.features),
    ]
    selected = ",\n  ".join(f"CASE WHEN {fresh} THEN {sql} END AS {name}" if fresh else f"{sql} AS {name}" for sql, name in columns)
    return f"SELECT s.{ROW},\n  {selected}\nFROM {spine} s ASOF LEFT JOIN (\n{rows}\n) f ON {on} AND s.{T} >= {at}"


def _latest(keys: list[str], values: list[str], features: str) -> str:
    partition = ", ".join([*keys, "feature_timestamp"])
    return (
        f"SELECT {', '.join([*keys, 'feature_timestamp', 'created_timestamp', *values])} FROM {features}"
        f"\nQUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY created_timestamp DESC NULLS LAST) = 1"
    )


def _known_then(keys: list[str], values: list[str], features: str) -> str:
    """For every moment at which a key's knowledge changes, the newest row known by then.

    A row is available from the later of its two times; at each such moment the greatest (feature_timestamp,
    created_timestamp) of those available so far holds.
    """
    named = ", ".join(["ft := feature_timestamp", "ct := created_timestamp", *(f"v{i} := {value}" for i, value in enumerate(values))])
    best = f"arg_max(struct_pack({named}), row(feature_timestamp, created_timestamp))"
    key_list = ", ".join(keys)
    unpacked = ", ".join(
        ["best.ft AS feature_timestamp", "best.ct AS created_timestamp", *(f"best.v{i} AS {v}" for i, v in enumerate(values))]
    )
    return (
        f"SELECT {key_list}, __fs_available, {unpacked} FROM ("
        f"\nSELECT {key_list}, __fs_available, {best} OVER (PARTITION BY {key_list}"
        " ORDER BY __fs_available, feature_timestamp, created_timestamp ROWS UNBOUNDED PRECEDING) AS best"
        "\nFROM (SELECT *, greatest(feature_timestamp, created_timestamp) AS __fs_available"
        f" FROM {features} WHERE created_timestamp IS NOT NULL)"
        f"\nQUALIFY row_number() OVER (PARTITION BY {key_list}, __fs_available"
        " ORDER BY feature_timestamp DESC, created_timestamp DESC) = 1)"
    )
