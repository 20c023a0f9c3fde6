"""The versions of a view to keep materialized: the current one, and others that served services or logged models read."""

from collections.abc import Collection, Iterator, Sequence

from featurestore.errors import Conflict, NotFound
from featurestore.records import model_events
from featurestore.records.definitions import Applied, Registry
from featurestore.records.runtime import Runtime
from featurestore.records.serving_version import resolve_service


def live_versions(runtime: Runtime, known: Registry, names: Sequence[str], staged: Collection[str] = ()) -> Iterator[Applied]:
    """The versions of each named view to materialize: the current ones first, then the others that are in use.

    Which others are in use is computed after the caller has materialized the current ones, since services then move to them; `staged` has
    the tables that are about to be published by then.
    Raises: NotFound with the nearest names.
    """
    current = [known.get("view", name) for name in names]
    yield from current
    if all(len(known.rows["view", row.name]) == 1 for row in current):
        return
    used = {table for service in known.names("service") for table in _served_tables(runtime, known, service, staged)}
    used.update(table for event in model_events.list_events(runtime) for table in event["snapshots"])
    for row in current:
        versions = reversed(known.rows["view", row.name])
        yield from (version for version in versions if version.version != row.version and version.table in used)


def _served_tables(runtime: Runtime, known: Registry, service: str, staged: Collection[str]) -> set[str]:
    """The tables that the served version of a service reads; if it cannot be determined, those of all versions."""
    try:
        plans = [resolve_service(runtime, known, service, online, staged).plan for online in (False, True)]
        return {use.table for plan in plans for use in plan.uses}
    except (NotFound, Conflict):
        return {f"{view}_v{version}" for row in known.rows["service", service] for view, version in row.bindings.items()}
