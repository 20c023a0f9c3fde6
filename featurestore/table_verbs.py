"""The methods of a store for tables whose rows are written by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featurestore import verbs
from featurestore.records import describe
from featurestore.records.runtime import Runtime
from featurestore.values.arguments import check_text

if TYPE_CHECKING:
    from featurestore.pipelines.history import TableEvent
    from featurestore.pipelines.written.write import TableWrite, WriteMode
    from featurestore.records.listings import ViewDetail


class TableVerbs:
    """A part of `FeatureStore`."""

    _runtime: Runtime

    def create_table(
        self,
        name: str,
        keys: str | Sequence[str],
        timestamp: str | None = None,
        *,
        schema: Any,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> ViewDetail:
        """Create a feature table that `write_table` fills by key: a view whose rows are written instead of computed from a source.

        `schema` is a frame, an Arrow schema, or a dict of column and type ({"spend": "double"}); it has the `keys`, the `timestamp` column
        if there is one, and the features. `timestamp` is the time from which a row holds; None: the time of writing.

        For a table that exists, columns that it lacks are added, NULL in its rows; nothing is ever removed. Returns the table.
        Raises: Conflict if it has other keys, another timestamp or other types, or if there is a declared view of this name.
        """
        verbs.create_table(self._runtime, verbs.TableRequest.of(name, keys, timestamp, schema, description, tags))
        return describe.view(self._runtime, name)

    def write_table(self, name: str, frame: Any, mode: WriteMode = "merge", run_id: str | None = None) -> TableWrite:
        """Write rows to a table that `create_table` made, in one commit, and publish them online.

        `frame` is a pandas or polars frame, Arrow data, or a list of dicts. "merge" adds rows and corrects stored ones of the same keys
        and timestamp; features that the frame lacks keep their values. "append" only adds rows, and refuses to change one. "overwrite"
        leaves the rows of the frame and deletes the others. Nothing stored is changed: corrections and deletions are later versions, so
        older snapshots and known="then" see what was. Equal rows add nothing, nor does a second write with the same `run_id`.

        Raises: RequestError and TypeMismatch naming row and column, with nothing written: NULL keys, repeated keys, unknown columns,
        values that do not fit.
        """
        return verbs.write_table(self._runtime, name, frame, mode, run_id)

    def history(self, table: str) -> list[TableEvent]:
        """What happened to a table, the newest first: snapshot, time, author, operation, rows, run.

        `table` is a view or a written table (its current version), a feature table such as `customer_orders_v1`, or any table of the
        catalog with its namespace. Raises: NotFound with the nearest names.
        """
        return verbs.table_history(self._runtime, check_text(table, "table"))
