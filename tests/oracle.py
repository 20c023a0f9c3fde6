"""The time rules in plain Python by brute force, as the oracle for the results of the engine."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def value_order(value: Any) -> tuple[Any, ...]:
    """A total order over a column's values: NULL first, then numbers with NaN last."""
    if value is None:
        return (0, 0)
    return (2, 0) if isinstance(value, float) and math.isnan(value) else (1, value)


def created_order(created: int | None) -> tuple[int, int]:
    """An unknown created time is the oldest."""
    return (0, 0) if created is None else (1, created)


def as_of(
    rows: Iterable[Row], key: tuple[Any, ...], keys: Sequence[str], t: int | None, *, ttl: int | None, known: str, features: Sequence[str]
) -> Row | None:
    """Rules 3 to 5: the row of `key` that a spine row at `t` sees; None when it sees none.

    A row holds keys, `ft` and `ct` in microseconds, and features.
    """
    if t is None or None in key:
        return None
    candidates = [row for row in rows if tuple(row[name] for name in keys) == key and row["ft"] <= t]
    if known == "then":
        candidates = [row for row in candidates if row["ct"] is not None and row["ct"] <= t]
    if not candidates:
        return None
    best = max(candidates, key=lambda row: (row["ft"], created_order(row["ct"]), [value_order(row[name]) for name in features]))
    return None if ttl and t - best["ft"] > ttl else best


def window(events: Iterable[Row], g: int, length: int | None) -> list[Row]:
    """Rule 6: the events in [g - length, g), in order; without a length all before g."""
    inside = [event for event in events if (length is None or g - length <= event["t"]) and event["t"] < g]
    return sorted(inside, key=lambda event: (event["t"], created_order(event.get("c")), value_order(event.get("x"))))


def limited(events: Iterable[Row], g: int, length: int, limit: int) -> list[Row]:
    """The events in [g - length, g), cut to the latest whole microseconds that have at most `limit` events together."""
    before = window(events, g, None)
    first = len(before)
    while first > 0:
        start = next(place for place, event in enumerate(before) if event["t"] == before[first - 1]["t"])
        if len(before) - start > limit:
            break
        first = start
    return [event for event in before[first:] if g - length <= event["t"]]


def latest(events: Iterable[Row], g: int, rows: int) -> list[Row]:
    """The latest rows before g, in order."""
    return window(events, g, None)[-rows:]


def grid_points(events: Sequence[Row], step: int, lengths: Iterable[int]) -> set[int]:
    """Rule 7: the first grid point after each event, and where it leaves each window."""
    first = {event["t"] // step * step + step for event in events}
    return first | {g + length for g in first for length in lengths}


def aggregate(function: str, events: Sequence[Row], column: str | None = "x", *, n: int = 1, q: float = 0.5) -> Any:
    """One aggregation over a window's events, in order; NULL values are passed over."""
    if function == "count" and column is None:
        return len(events)
    values = [event[column or "x"] for event in events if event[column or "x"] is not None]
    if function in ("count", "count_distinct"):
        return len(values) if function == "count" else len(set(values))
    if not values:
        return None
    whole: dict[str, Callable[[], Any]] = {
        "sum": lambda: math.fsum(values) if isinstance(values[0], float) else sum(values),
        "mean": lambda: math.fsum(values) / len(values),
        "min": lambda: min(values),
        "max": lambda: max(values),
        "stddev": lambda: statistics.stdev(values) if len(values) > 1 else None,
        "percentile": lambda: quantile(sorted(values), q),
        "first": lambda: values[0],
        "last": lambda: values[-1],
        "last_n": lambda: values[::-1][:n],
    }
    return whole[function]()


def quantile(ordered: Sequence[float], q: float) -> float:
    """Linear interpolation between the two nearest ranks."""
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = math.ceil(at)
    return float(ordered[low] + (ordered[high] - ordered[low]) * (at - low))
