"""Copy pushed events into the tables of their sources, between runs, so that the log stays short."""

from collections.abc import Iterator

from featurestore.dsl import documents
from featurestore.dsl.source import Source
from featurestore.errors import CommitConflict, FeatureStoreError, LeaseHeld
from featurestore.lakehouse import tables
from featurestore.records import definitions, stored_definition
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import find_copy
from featurestore.sources.kept.pushed_table import check_log, copied_through
from featurestore.sources.kept.refresh import CopyRefresh


class EventCopier:
    """Copies what waits, for all sources that are applied. May be called again and again by one thread."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime.as_operator()
        self._pointer: str | None = None
        self._sources: list[Source] = []

    def copy(self) -> list[str]:
        """Copy the events of every source that has some, unless another process is doing so. Returns the tables that were written.

        Raises: the error of the last source that could not be copied, after the others.
        """
        written: list[str] = []
        failure: FeatureStoreError | None = None
        for source in self._pushed_sources():
            try:
                if self._waits(source):
                    with Leases(self._runtime, 0.0) as leases:
                        refresh = CopyRefresh(self._runtime, leases)
                        refresh.refresh(source)
                        written += refresh.written
            except (LeaseHeld, CommitConflict):
                continue
            except FeatureStoreError as error:
                failure = error
        if failure is not None:
            raise failure
        return written

    def _waits(self, source: Source) -> bool:
        """Whether the log has events that are not in the table yet. Raises: NotReady for another log than that of the events."""
        granted = find_copy(self._runtime, source)
        if granted is None:
            return False
        check_log(self._runtime, source, granted)
        return self._runtime.event_log.last(granted.table.uuid) != copied_through(granted)

    def _pushed_sources(self) -> list[Source]:
        pointer = tables.pointer(self._runtime.catalog, definitions.registry_table(self._runtime))
        if pointer is None or pointer != self._pointer:
            self._sources = list(_sources(self._runtime))
            self._pointer = pointer
        return self._sources


def _sources(runtime: Runtime) -> Iterator[Source]:
    known = definitions.read_registry(runtime)
    for name in known.names("source"):
        with stored_definition.conflict_if_unreadable(f"source {name}", source=name):
            source = documents.source(known.get("source", name).document)
        if source.pushed:
            yield source
