"""The Iceberg table with the rows that are pushed to a source, and how far the log of pushed events is copied into it."""

import pyarrow as pa

from featurestore.dsl.source import ACKNOWLEDGED, Source
from featurestore.dsl.value_types import column_type
from featurestore.errors import Conflict, NotReady
from featurestore.lakehouse import tables
from featurestore.lakehouse.evolution import extend_columns
from featurestore.lakehouse.granted import Granted
from featurestore.lakehouse.row_swap import METRICS
from featurestore.push.event_log import PUSH_LOG, THROUGH
from featurestore.push.lot import ACKNOWLEDGED_TYPE
from featurestore.records.authors import created_property
from featurestore.records.runtime import Runtime
from featurestore.sources.kept.copied_table import ORIGIN, find_copy
from featurestore.values.arrow_types import arrow_type


def column_types(source: Source) -> dict[str, str]:
    """The columns of a pushed source with their DuckDB types, as its schema says."""
    return {name: column_type(type_name) for name, type_name in (source.schema or {}).items()}


def pushed_columns(source: Source) -> pa.Schema:
    """The columns of the table that a source's schema asks for."""
    fields = [pa.field(name, tables.stored_type(arrow_type(sql_type))) for name, sql_type in column_types(source).items()]
    return pa.schema([*fields, pa.field(ACKNOWLEDGED, ACKNOWLEDGED_TYPE)])


def table_columns(source: Source, granted: Granted | None) -> pa.Schema:
    """The columns of the table once it has all of the schema's; a table keeps those that the schema does not have any more.

    Raises: Conflict naming a column that the table has with another type.
    """
    wanted = pushed_columns(source)
    if granted is None:
        return wanted
    if (origin := granted.table.properties.get(ORIGIN)) != source.origin:
        raise Conflict(f"the table {granted.name} has {origin or 'rows of another program'}; call source {source.name} something else")
    stored = tables.arrow_schema(granted.table)
    cases = {name.lower(): name for name in stored.names}
    for field in wanted:
        known = cases.get(field.name.lower(), field.name)
        if known != field.name or (known in stored.names and stored.field(known).type != field.type):
            raise Conflict(
                f"column '{field.name}' of source {source.name} is {field.type}, and its table {granted.name} has '{known}' as"
                f" {stored.field(known).type}: what was pushed keeps its type. Add a column of another name",
                source=source.name,
                column=field.name,
            )
    added = [field for field in wanted if field.name not in stored.names]
    return pa.schema([*stored, *added])


def load_pushed_table(runtime: Runtime, source: Source) -> Granted:
    """The table, which is created without rows if there is none yet, and gets the columns that it lacks.

    Raises: as `table_columns`; NotReady if the log that the settings name is not the one whose events were copied into the table.
    """
    log = runtime.event_log
    granted = find_copy(runtime, source)
    columns = table_columns(source, granted)
    if granted is None:
        exact = [source.timestamp] if source.id is None else [source.timestamp, source.id]
        properties = {
            ORIGIN: source.origin,
            PUSH_LOG: log.identity(),
            **{f"{METRICS}{name}": "full" for name in exact},
            **created_property(runtime.author),
        }
        table, created = tables.load_or_create(runtime.catalog, source.kept_table, columns, properties=properties)
        granted = runtime.operator.grant(table)
        columns = columns if created else table_columns(source, granted)
    if len(columns) > len(tables.arrow_schema(granted.table)):
        extend_columns(granted.table, columns)
    check_log(runtime, source, granted)
    return granted


def check_log(runtime: Runtime, source: Source, granted: Granted) -> None:
    """Raises: NotReady if the log that the settings name is not the one whose events are copied into the table."""
    known = granted.table.properties.get(PUSH_LOG)
    if known != runtime.event_log.identity():
        raise NotReady(
            f"the push log that the setting push_log names is another one than that of source {source.name}, whose table {granted.name} has"
            " events of it: what was acknowledged there may not be in the table yet. Set push_log to the log of before, or restore it;"
            " featurestore doctor --repair goes on with this one, without what was not copied",
            source=source.name,
            log=known,
        )


def copied_through(granted: Granted) -> int:
    """The offset of the log up to which events are in the table."""
    return int(granted.table.properties.get(THROUGH, "0"))
