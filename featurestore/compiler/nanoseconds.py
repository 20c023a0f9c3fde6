"""Truncate nanoseconds to microseconds when rows are read, toward the past: a cast would round to the nearest."""

_MAKERS = {"TIMESTAMP_NS": "make_timestamp", "TIMESTAMPTZ_NS": "make_timestamptz"}
TYPES = frozenset(_MAKERS)


def truncate_sql(sql: str, sql_type: str) -> str | None:
    """SQL that truncates the nanoseconds of a value, also before 1970 and in lists; None for a type without nanoseconds."""
    depth = sql_type.count("[]")
    make = _MAKERS.get(sql_type[: len(sql_type) - 2 * depth])
    if make is None:
        return None
    if depth:
        item = f"__fs_item_{depth}"
        return f"list_transform({sql}, lambda {item}: {truncate_sql(item, sql_type[:-2])})"
    return f"{make}((epoch_ns({sql}) - ((epoch_ns({sql}) % 1000) + 1000) % 1000) // 1000)"
