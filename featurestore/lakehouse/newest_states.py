"""Notice a catalog that answers with an older state of a table than it did before: a lagging copy, or a restored backup."""

from dataclasses import dataclass
from uuid import UUID

from pyiceberg.table.metadata import TableMetadata

from featurestore.errors import NotReady


@dataclass(frozen=True)
class SeenState:
    """A state of a table that the catalog has shown: its last sequence number, its metadata file and those before."""

    uuid: UUID
    sequence_number: int
    metadata_location: str
    earlier: frozenset[str]

    @classmethod
    def of(cls, metadata: TableMetadata, metadata_location: str) -> "SeenState":
        """What identifies the state with these metadata."""
        earlier = frozenset(entry.metadata_file for entry in metadata.metadata_log)
        return cls(metadata.table_uuid, getattr(metadata, "last_sequence_number", 0), metadata_location, earlier)

    def is_before(self, seen: "SeenState") -> bool:
        """Whether this is surely an earlier state of the same table."""
        if self.uuid != seen.uuid or self.metadata_location == seen.metadata_location:
            return False
        return self.metadata_location in seen.earlier or self.sequence_number < seen.sequence_number


class NewestStates:
    """The newest state of each table of a catalog that this process has seen. May be used from several threads."""

    def __init__(self) -> None:
        self._seen: dict[str, SeenState] = {}

    def seen(self, name: str) -> SeenState | None:
        """The newest state that was seen; None if the table was not seen."""
        return self._seen.get(name)

    def note(self, name: str, state: SeenState) -> None:
        """Remember a state, unless a later one was seen meanwhile."""
        seen = self._seen.get(name)
        if seen is None or not state.is_before(seen):
            self._seen[name] = state


def refuse_older(name: str, state: SeenState, before: SeenState | None) -> None:
    """Raise NotReady if a state is older than the newest one that was seen before it was asked for."""
    if before is None or not state.is_before(before):
        return
    raise NotReady(
        f"the catalog shows an older state of {name} than before (sequence number {state.sequence_number} after {before.sequence_number},"
        f" {state.metadata_location} after {before.metadata_location}): a copy of it lags behind, or it was restored from a backup; nothing"
        " was written. Run the same again; if it was restored on purpose, start this process again",
        table=name,
    )
