"""The newest edition of each feature table: the state that was published last, recorded before it became visible online.

The tables of a run are appended to one after the other, and become visible together. An online store that is lost meanwhile must be filled
with what all of them showed before, not with the new rows of some.
"""

import json
from collections.abc import Mapping

import pyarrow as pa

from featurestore.errors import CommitConflict, NotReady
from featurestore.lakehouse import commits, tables
from featurestore.lakehouse.table import Table
from featurestore.masking import logger_of
from featurestore.online.store import Cursor
from featurestore.records.runtime import Runtime
from featurestore.settings import Settings

logger = logger_of(__name__)

SCHEMA = pa.schema([("table", pa.string())])
"""The table has no rows: its properties are replaced in one commit, whatever their number."""
PREFIX = "featurestore.edition."
"""The prefix of the properties; the rest is the name of the feature table."""


def editions_table(settings: Settings) -> str:
    """The table's name in the catalog."""
    return f"{settings.registry_namespace}.editions"


def record(runtime: Runtime, cursors: Mapping[str, Cursor]) -> None:
    """Record what is about to become visible, by feature table. If the catalog does not take it, that is logged.

    A table that is published alone is recorded only if it was ever published with others.
    """
    name = editions_table(runtime.settings)
    try:
        table = tables.find(runtime.catalog, name)
        if len(cursors) == 1 and (table is None or PREFIX + next(iter(cursors)) not in table.properties):
            return
        properties = {
            PREFIX + published: json.dumps([cursor.snapshot_id, cursor.materialized_through, cursor.table_id])
            for published, cursor in cursors.items()
        }
        commits.commit(
            table or tables.create_if_absent(runtime.catalog, name, SCHEMA), lambda fresh: tables.properties_transaction(fresh, properties)
        )
    except (CommitConflict, NotReady) as error:
        logger.warning(
            "an edition of %s was not recorded; a lost online store would be filled with an older one: %s", ", ".join(cursors), error
        )


def read(runtime: Runtime) -> Mapping[str, Cursor]:
    """The newest recorded state by feature table."""
    table = tables.find(runtime.catalog, editions_table(runtime.settings))
    properties = {} if table is None else table.properties
    return {name.removeprefix(PREFIX): Cursor(*json.loads(value)) for name, value in properties.items() if name.startswith(PREFIX)}


def is_readable(cursor: Cursor, table: Table) -> bool:
    """Whether a recorded state is of this table, and not expired."""
    return cursor.table_id == table.uuid and (cursor.snapshot_id is None or cursor.snapshot_id in table.snapshot_ids)
