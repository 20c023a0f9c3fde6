"""Bring the copies of sources up to date, each once in a run."""

from collections.abc import Callable

from featurestore.dsl.source import Source
from featurestore.errors import CommitConflict, FeatureStoreError, copy_error
from featurestore.lakehouse import commits
from featurestore.lakehouse.table import Table
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime

ATTEMPTS = 20
"""Attempts of a copy: each lost attempt means that another process copied a piece."""

OnCopied = Callable[[int, int], None]
"""Called with how many pieces of the work are done, and how many there are."""


class CopyRefresh:
    """Refreshes the copies of sources. One source may have several views, which all read the copy that is made first."""

    def __init__(self, runtime: Runtime, leases: Leases) -> None:
        """One process at a time writes a copy, which has the copy's lease from `leases`."""
        self._runtime, self._leases = runtime, leases
        self._done: dict[str, FeatureStoreError | None] = {}
        self.written: list[str] = []
        """The tables of the copies to which this process wrote."""
        self.to_maintain: list[str] = []
        """These, and tables of pushed events, to which servers write small files between runs."""

    def refresh(self, source: Source, report: OnCopied = lambda done, total: None) -> None:
        """Copy what is new at the origin of a source; nothing for a source whose rows the store does not keep.

        Raises: NotFound, RequestError, TypeMismatch, NotReady, OutOfResources, CommitConflict: what was copied before stays, and the next
        run continues there.
        """
        if not source.kept:
            return
        name = source.kept_table
        if name not in self._done:
            try:
                undone = "what was copied before stays, and the next run continues there"
                if source.pushed:
                    self.to_maintain.append(name)
                if commits.retry(name, lambda: self._copy(source, report), undone=undone, attempts=ATTEMPTS):
                    self.written.append(name)
                    self.to_maintain += [] if source.pushed else [name]
                self._done[name] = None
            except FeatureStoreError as error:
                error.message = f"source {source.name}: {error.message}"
                self._done[name] = error
            finally:
                self._leases.release(name)
        if (failure := self._done[name]) is not None:
            # Each caller adds to its message.
            raise copy_error(failure)

    def _copy(self, source: Source, report: OnCopied) -> bool:
        # Imported here: few sources are copied, and drivers of databases are an extra.
        if source.pushed:
            from featurestore.sources.kept.event_copy import copy_events  # noqa: PLC0415

            return copy_events(self._runtime, source, report, self._hold)
        if source.url is None:
            from featurestore.sources.kept.file_copy import copy_files  # noqa: PLC0415

            return copy_files(self._runtime, source, report, self._hold)
        from featurestore.sources.kept.database_copy import copy_table  # noqa: PLC0415

        return copy_table(self._runtime, source, report, self._hold)

    def _hold(self, table: Table) -> None:
        """Take the lease of a copy before it is written. Raises: CommitConflict if another process has written since it was loaded."""
        if self._leases.hold(table):
            raise CommitConflict(f"another process has copied to {table.name} meanwhile", table=table.name)
