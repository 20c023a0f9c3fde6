"""Events that wait in the push log: before a key is erased from the table of their source, they are copied there, and leave the log."""

from collections.abc import Iterator
from datetime import timedelta

from featurestore.dsl.source import Source
from featurestore.pipelines.maintenance.erasure_places import Subject
from featurestore.records import definitions
from featurestore.records.leases import Leases
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import find_copy
from featurestore.sources.kept.pushed_table import copied_through
from featurestore.sources.kept.refresh import CopyRefresh
from featurestore.values import times

WAIT = timedelta(minutes=10)


def empty_logs(runtime: Runtime, subject: Subject) -> None:
    """Copy what waits for the sources of the views with the key, and drop it from the log. Raises: as `CopyRefresh.refresh`."""
    for source in _sources(runtime, subject):
        with Leases(runtime, WAIT.total_seconds()) as leases:
            CopyRefresh(runtime, leases).refresh(source)
        if (granted := find_copy(runtime, source)) is not None:
            runtime.event_log.trim(granted.table.uuid, copied_through(granted), times.LAST)


def look_in_logs(runtime: Runtime, subject: Subject, erased: bool) -> Iterator[str]:
    """What remains of events in the log: those that wait, and after an erasure what its database frees later. Raises: NotReady."""
    scheme = (runtime.settings.push_log_url() or "").partition("://")[0].partition("+")[0]
    freed = {"postgresql": "until VACUUM has run there", "redis": "in its append-only file until that is rewritten"}
    for source in _sources(runtime, subject):
        granted = find_copy(runtime, source)
        if granted is None:
            continue
        waiting = runtime.event_log.status(granted.table.uuid, copied_through(granted)).waiting
        if waiting:
            after = "erase again" if erased else "an erasure copies them to the table first"
            yield f"the push log of source {source.name}: {waiting} rows wait, which were not searched; {after}"
        if erased and scheme in freed:
            yield f"the push log of source {source.name}: freed space may have the rows {freed[scheme]}"


def _sources(runtime: Runtime, subject: Subject) -> list[Source]:
    known = definitions.read_registry(runtime)
    sources = {source.name: source for row in subject.views if (source := known.view(row).source).pushed}
    return list(sources.values())
