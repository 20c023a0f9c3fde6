"""Nanoseconds are cut to microseconds where rows are read, toward the past: a cast would round them to the nearest."""

_MAKERS = {"TIMESTAMP_NS": "make_timestamp", "TIMESTAMPTZ_NS": "make_timestamptz"}
TYPES = frozenset(_MAKERS)


def cut(sql: str, kind: str) -> str | None:
    """SQL of a value of this DuckDB type with its nanoseconds cut, also before 1970 and in lists; None for a type that has none."""
    depth = kind.count("[]")
    make = _MAKERS.get(kind[: len(kind) - 2 * depth])
    if make is None:
        return None
    if depth:
        item = f"__fs_item_{depth}"
        return f"list_transform({sql}, lambda {item}: {cut(item, kind[:-2])})"
    return f"{make}((epoch_ns({sql}) - ((epoch_ns({sql}) % 1000) + 1000) % 1000) // 1000)"
