"""What was done to a table, as the summary of each snapshot says."""

from collections.abc import Mapping

OPERATION = "featurestore.action"
"""The entry of a snapshot's summary with the operation; materializations have none."""
INTERVAL = "featurestore.interval"


def operation_of(summary: Mapping[str, str]) -> str:
    """The operation of a snapshot: ours, or Iceberg's where another program wrote it."""
    return summary.get(OPERATION) or ("materialize" if INTERVAL in summary else summary.get("operation", ""))
