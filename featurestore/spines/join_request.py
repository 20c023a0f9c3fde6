"""The request of a point-in-time join: its arguments, checked once, before anything is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from featurestore.dsl.csv_format import Csv
from featurestore.records.names import service_name
from featurestore.spines.time_grid import spine_or_grid
from featurestore.values.arguments import Known, Snapshots, check_known, check_snapshots, check_text


@dataclass(frozen=True, kw_only=True)
class JoinRequest:
    """Which features to join with which rows.

    `spine` is the caller's rows, or a `SpineGrid`; None after the rows were read. `timestamp` names the column with each row's time.
    `snapshots` pins feature tables by name; those that are missing are read at their current snapshot. A tag (`@name`)
    stands for the snapshots that it pins.
    Raises: RequestError naming the argument.
    """

    service: str
    spine: Any
    timestamp: str
    known: Known = "now"
    snapshots: Snapshots = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "service", service_name(self.service))
        object.__setattr__(self, "snapshots", check_snapshots(self.snapshots))
        check_text(self.timestamp, "timestamp")
        check_known(self.known)

    @classmethod
    def of(
        cls,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        format: Csv | None = None,
        **arguments: Any,
    ) -> Self:
        """The request of a method's arguments: a spine with its format, or a grid of times. Raises: RequestError naming the argument."""
        rows, column = spine_or_grid(spine, timestamp, start, end, every, format)
        return cls(service=service, spine=rows, timestamp=column, **arguments)

    def to_dict(self) -> dict[str, Any]:
        """All but the spine, JSON-ready: snapshot ids as text."""
        return {"service": self.service, "timestamp": self.timestamp, "known": self.known, "snapshots": snapshot_texts(self.snapshots)}


def snapshot_texts(snapshots: Snapshots) -> dict[str, str | None] | str:
    """Snapshots as JSON values."""
    if isinstance(snapshots, str):
        return snapshots
    return {table: None if snapshot is None else str(snapshot) for table, snapshot in snapshots.items()}


def snapshots_of_texts(texts: Mapping[str, str | int | None] | str | None) -> Snapshots | None:
    """Snapshots from what `snapshot_texts` returned; None stays None."""
    if texts is None or isinstance(texts, str):
        return texts
    return {table: int(text) if text is not None and str(text).isdigit() else text for table, text in texts.items()}
