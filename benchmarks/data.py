"""Made-up events and rows, the same at every run."""

import numpy as np
import pyarrow as pa

DAY = 86_400_000_000
START = 1_767_225_600_000_000
"""2026-01-01 UTC in microseconds."""
STAMP = pa.timestamp("us", tz="UTC")


def events(rows: int, keys: int, days: int, seed: int = 7, start: int = START) -> pa.Table:
    """Events in the order of their times: key, event_time, value."""
    random = np.random.default_rng(seed)
    times = np.sort(start + random.integers(0, days * DAY, rows))
    return pa.table({"key": random.integers(0, keys, rows), "event_time": pa.array(times, STAMP), "value": random.standard_normal(rows)})


def readings(rows: int, keys: int, columns: int, days: int, seed: int, start: int = START) -> pa.Table:
    """Rows in the order of their times: key, event_time, and `columns` doubles and integers (three in ten)."""
    random = np.random.default_rng(seed)
    times = np.sort(start + random.integers(0, days * DAY, rows))
    table = {"key": pa.array(random.integers(0, keys, rows)), "event_time": pa.array(times, STAMP)}
    for column in range(columns):
        whole = column % 10 >= 7
        table[f"r{seed}_f{column}"] = pa.array(random.integers(0, 1_000_000, rows) if whole else random.standard_normal(rows))
    return pa.table(table)


def spine(rows: int, keys: int, days: int, seed: int = 99, start: int = START) -> pa.Table:
    """Rows to train on, in no order: key (one in a hundred unknown), asked_at, label."""
    random = np.random.default_rng(seed)
    chosen = random.integers(0, keys + keys // 100, rows)
    times = start + random.integers(0, days * DAY, rows)
    return pa.table({"key": chosen, "asked_at": pa.array(times, STAMP), "label": random.integers(0, 2, rows)})
