"""A source pinned for one operation, with the tables that it reads, each loaded once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from featurestore.compiler.expressions import parse_query, query_tables
from featurestore.dsl.source import Source
from featurestore.errors import FeatureStoreError
from featurestore.files import confinement, listing
from featurestore.lakehouse import tables
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.planned_scan import PlannedScan
from featurestore.lakehouse.table import Table
from featurestore.records import source_pins
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.origin import Origin, open_origin

Pins = Mapping[str, str]
"""The state of a source: a pin of each table (see `source_pins`), or the size and the change times of each file."""


@dataclass(frozen=True)
class PinnedSource:
    """A source at these pins, with the Iceberg tables that it reads, by name; files have none.

    `scan` has the files of a source that is one table, if they are planned already: see `reading.plan_rows`. `origin` has the columns of
    a source of which the store keeps a copy, as they are where its rows come from: it has no pins, and its rows are not read.
    """

    source: Source
    pins: Pins
    tables: Mapping[str, Granted]
    scan: PlannedScan | None = None
    origin: Origin | None = None

    @property
    def granted(self) -> Granted | None:
        """The table of a source that is one table; None for a query or files."""
        name = self.source.catalog_table
        return None if name is None or self.origin is not None else self.tables[name]

    @property
    def table(self) -> Table | None:
        """As `granted`, without its rows."""
        return None if self.granted is None else self.granted.table

    def read_at(self, name: str) -> tuple[int | None, int]:
        """The snapshot id and schema id at which to read a table; pins of early releases mean the schema of the snapshot."""
        pin = self.pins[name]
        snapshot, schema = source_pins.snapshot_id(pin), source_pins.schema_id(pin)
        return snapshot, tables.schema_id_of(self.tables[name].table, snapshot) if schema is None else schema


def open_source(runtime: Runtime, source: Source) -> PinnedSource:
    """Pin a source at its current state. Raises: NotFound for a table or file that does not exist; RequestError; NotReady."""
    return _pin(runtime, source, _load(runtime, source_tables(source)))


def open_sources(runtime: Runtime, sources: Iterable[Source]) -> dict[str, PinnedSource | FeatureStoreError]:
    """Pin sources at their current state, by name; for a source that cannot be opened the error. Sources of which the store keeps a copy
    have the columns of their origin instead, which the next run copies.
    """
    loaded: dict[str, Granted] = {}
    pinned: dict[str, PinnedSource | FeatureStoreError] = {}
    for source in sources:
        try:
            if source.kept:
                pinned[source.name] = PinnedSource(source, {}, {}, origin=open_origin(runtime, source))
                continue
            loaded |= _load(runtime, [name for name in source_tables(source) if name not in loaded])
            pinned[source.name] = _pin(runtime, source, loaded)
        except FeatureStoreError as error:
            pinned[source.name] = error
    return pinned


def open_source_at(runtime: Runtime, source: Source, pins: Pins) -> PinnedSource | None:
    """The source at the pins of an earlier run; None if snapshots of the pins have expired, or files have changed."""
    if source.files is not None:
        return PinnedSource(source, pins, {}) if _file_states(runtime, source.files) == dict(pins) else None
    if set(pins) != set(source_tables(source)):
        return None
    loaded = _load(runtime, pins)
    return PinnedSource(source, pins, loaded) if all(_has_pin(loaded[name].table, pin) for name, pin in pins.items()) else None


def source_tables(source: Source) -> tuple[str, ...]:
    """The catalog tables that a source reads; files have none."""
    if source.files is not None:
        return ()
    return (source.catalog_table,) if source.catalog_table is not None else query_tables(parse_query(source.sql or ""))


def _load(runtime: Runtime, names: Iterable[str]) -> dict[str, Granted]:
    # As the store: whoever applied the definition of the source could read all of it.
    return {name: runtime.operator.grant(tables.load(runtime.catalog, name)) for name in names}


def _pin(runtime: Runtime, source: Source, loaded: Mapping[str, Granted]) -> PinnedSource:
    if source.files is not None:
        return PinnedSource(source, _file_states(runtime, source.files), {})
    of_source = {name: loaded[name] for name in source_tables(source)}
    return PinnedSource(source, {name: source_pins.current_pin(granted.table) for name, granted in of_source.items()}, of_source)


def _file_states(runtime: Runtime, path: str) -> dict[str, str]:
    return listing.file_states(confinement.list_allowed_files(path, runtime.source_folders))


def _has_pin(table: Table, pin: str) -> bool:
    snapshot, schema = source_pins.snapshot_id(pin), source_pins.schema_id(pin)
    return (snapshot is None or snapshot in table.snapshot_ids) and (schema is None or schema in table.schema_ids)
