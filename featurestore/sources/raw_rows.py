"""The raw rows of a source, as a run reads them: those of a pinned source, or of the part of one that a worker has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from featurestore.compiler.parameters import SOURCE
from featurestore.engine.session import Session
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource
from featurestore.sources.reading import SourceRows, TimeBounds


class RawRows(Protocol):
    """Raw rows that can be added to a session, several times."""

    def add(self, session: Session, reads: Sequence[str], bounds: TimeBounds | None = None, name: str = SOURCE) -> SourceRows:
        """Add them as relation `name`, with at least the columns `reads`; rows outside of the bounds may be left out."""


@dataclass(frozen=True)
class PinnedRows:
    """All rows of a pinned source; see `reading.add_source`."""

    runtime: Runtime
    pinned: PinnedSource

    def add(self, session: Session, reads: Sequence[str], bounds: TimeBounds | None = None, name: str = SOURCE) -> SourceRows:
        """See RawRows. Raises: as `reading.add_source`."""
        return reading.add_source(self.runtime, session, self.pinned, reads, bounds, name)
