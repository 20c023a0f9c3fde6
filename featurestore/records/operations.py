"""What was done to a table, as the summary of each snapshot says."""

from collections.abc import Mapping

from featurestore.lakehouse.writes import OPERATION

INTERVAL = "featurestore.interval"
DROP_SUPERSEDED = "fold"
"""The stored name of a compaction that drops superseded rows."""
_SHOWN = {DROP_SUPERSEDED: "drop superseded"}


def operation_of(summary: Mapping[str, str]) -> str:
    """The operation of a snapshot, as it is shown: ours, or Iceberg's where another program wrote it."""
    stored = summary.get(OPERATION)
    return _SHOWN.get(stored, stored) if stored else ("materialize" if INTERVAL in summary else summary.get("operation", ""))
