"""A registry that has lost files: which revocations they had nobody knows, so nothing holds that was recorded before its repair."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from featurestore.lakehouse.table import Table
from featurestore.values import times

VOID_UNTIL = "featurestore.void-until"
"""The property of a registry with the time up to which its rows are void, in microseconds since the epoch."""


def void_property(table: Table) -> Mapping[str, str]:
    """The property that makes void all that was recorded so far. It is set in the commit that rolls the table back."""
    before = void_until(table)
    return {VOID_UNTIL: str(max(times.now(), 0 if before is None else times.micros(before)))}


def void_until(table: Table) -> datetime | None:
    """The time up to which nothing holds, inclusive; None for a registry that was never repaired."""
    text = table.properties.get(VOID_UNTIL)
    return None if text is None else times.moment(int(text))


def valid_time(table: Table, at: datetime) -> datetime:
    """The time to record for something that is to hold: after what is void, also if the clock that said so was ahead."""
    before = void_until(table)
    return at if before is None else max(at, before + timedelta(microseconds=1))
