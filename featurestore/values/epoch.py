"""The Unix epoch, from which all times are counted."""

from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
"""Without a zone, like DuckDB's TIMESTAMP."""
EPOCH_DAY = EPOCH.toordinal()
"""The epoch's day, as Python counts days."""
