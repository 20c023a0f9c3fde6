"""Where rows of a source are pushed to: its definition as it is applied, and the stream of its table."""

import time
from dataclasses import dataclass, field

from featurestore.dsl import documents
from featurestore.dsl.source import Source
from featurestore.errors import Conflict, NotFound
from featurestore.lakehouse import tables
from featurestore.records import definitions, stored_definition
from featurestore.records.definitions import Registry
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.pushed_table import load_pushed_table

LOOK_SECONDS = 0.5
"""For how long a process goes on with what it knows of a source, before it looks whether definitions have changed."""


@dataclass
class PushTarget:
    """A source, the stream of the log with its events, and the state of the registry that says so."""

    source: Source
    stream: str
    registry: str | None
    seen: float = field(default_factory=time.monotonic)


def find_target(runtime: Runtime, name: str, *, fresh: bool = False) -> PushTarget:
    """The target of a source's name; `fresh`: as the definitions are now.

    Raises: NotFound with the nearest names; Conflict for a source whose rows are read from elsewhere; as `load_pushed_table`.
    """
    target: PushTarget | None = runtime.push_targets.get(name)
    if target is not None and not fresh and time.monotonic() - target.seen < LOOK_SECONDS:
        return target
    pointer = tables.pointer(runtime.catalog, definitions.registry_table(runtime))
    if target is not None and target.registry == pointer:
        target.seen = time.monotonic()
        return target
    source = pushed_source(definitions.read_registry(runtime), name)
    granted = load_pushed_table(runtime.as_operator(), source)
    found = PushTarget(source, granted.table.uuid, pointer)
    runtime.push_targets.keep(name, found)
    return found


def pushed_source(known: Registry, name: str) -> Source:
    """An applied source whose rows are pushed. Raises: NotFound with the nearest names; Conflict for another source."""
    row = known.latest("source", name)
    if row is None:
        raise NotFound("source", name, known.names("source"))
    with stored_definition.conflict_if_unreadable(f"source {name}", source=name):
        source = documents.source(row.document)
    if not source.pushed:
        raise Conflict(f"the rows of source {name} are read from elsewhere; only sources with a schema= are pushed to", source=name)
    return source
