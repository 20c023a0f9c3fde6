"""The methods of a store for tables whose rows are written by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featurestore import verbs
from featurestore.progress import TrainingSetProgress, training_set_reporter
from featurestore.records import describe
from featurestore.records.runtime import Runtime
from featurestore.store.recorded import recorded
from featurestore.values.arguments import Known, check_text

if TYPE_CHECKING:
    from featurestore.audit_log.log import AuditLog
    from featurestore.backend import Backend
    from featurestore.dsl.lookup import FeatureLookup
    from featurestore.dsl.source import Source
    from featurestore.pipelines.lineage.history import TableEvent
    from featurestore.pipelines.pushed.push import Pushed
    from featurestore.pipelines.pushed.write import SourceWrite, SourceWriteMode
    from featurestore.pipelines.training_sets.splits import SplitRequest
    from featurestore.pipelines.training_sets.training_set import TrainingSet
    from featurestore.pipelines.written.write import TableWrite, WriteMode
    from featurestore.records.listings import ViewDetail


class TableVerbs:
    """A part of `FeatureStore`."""

    _runtime: Runtime
    _audit_log: AuditLog | None
    _acting: str

    @property
    def backend(self) -> Backend:
        """The stages of the methods; see `FeatureStore`."""
        raise NotImplementedError

    @recorded
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

    @recorded
    def write_table(self, name: str, frame: Any, mode: WriteMode = "merge", run_id: str | None = None) -> TableWrite:
        """Write rows to a table that `create_table` made, in one commit, and publish them online.

        `frame` is a pandas or polars frame, Arrow data, or a list of dicts. "merge" adds rows and corrects stored ones of the same keys
        and timestamp; features that the frame lacks keep their values. "append" only adds rows, and refuses to change one. "overwrite"
        leaves the rows of the frame and deletes the others. Nothing stored is changed: corrections and deletions are later versions, so
        older snapshots and known="then" see what was. A second write with the same `run_id` adds nothing, nor do equal rows if the table
        has a timestamp column; without one they are stored again, at the time of this write.

        Raises: RequestError and TypeMismatch naming row and column, with nothing written: NULL keys, repeated keys, unknown columns,
        values that do not fit.
        """
        return verbs.write_table(self._runtime, name, frame, mode, run_id)

    @recorded
    def push(self, source: str | Source, rows: Any) -> Pushed:
        """Push rows to a source with a schema; they are durable when this returns, and the next run copies them into the source's table.

        `rows` is a pandas or polars frame, Arrow data, or a list of dicts. Columns that they lack are NULL. If the source has an `id`,
        each id counts once, however often and by whomever it is sent.

        Raises: NotFound with the nearest names; RequestError, TypeMismatch and TooLarge naming row and column, with nothing pushed; Busy if
        too many pushes wait.
        """
        return verbs.push(self._runtime, source, rows)

    @recorded
    def write(self, source: str | Source, frame: Any, mode: SourceWriteMode = "append") -> SourceWrite:
        """Write a frame of any size to the table of a source with a schema. "append" adds rows, each id once as in `push`; "merge" also
        replaces rows of the same id that have other values, so that the next run corrects what was computed from them.

        Rows are durable, and in the table, when this returns. Raises: RequestError and TypeMismatch naming row and column, with nothing
        written; LeaseHeld if another process writes to the table all the time.
        """
        return verbs.write_source(self._runtime, source, frame, mode)

    def history(self, table: str) -> list[TableEvent]:
        """What happened to a table, the newest first: snapshot, time, author, operation, rows, run.

        `table` is a view or a written table (its current version), a feature table such as `customer_orders_v1`, or any table of the
        catalog with its namespace. Raises: NotFound with the nearest names.
        """
        return verbs.table_history(self._runtime, verbs.local_table(self._runtime, check_text(table, "table"), "table"))

    @recorded
    def create_training_set(
        self,
        frame: Any,
        feature_lookups: FeatureLookup | Sequence[FeatureLookup],
        label: str | None = None,
        exclude_columns: str | Sequence[str] | None = None,
        timestamp: str | None = None,
        *,
        name: str | None = None,
        known: Known = "now",
        split: SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        progress: TrainingSetProgress = None,
    ) -> TrainingSet:
        """Join a frame with features of written tables and views, and store the result, as `training_set` does for a service.

        The lookups make a service, which is registered under a name with its fingerprint, so that models logged with the training set are
        served and scored like any others. Columns of the frame that are neither keys, times, the label nor excluded are its request fields.
        `exclude_columns` are not inputs of a model, but stay in the training set; `load_df` leaves them out.

        `timestamp` is the frame's column with the time as of which features are looked up, where a lookup has no `timestamp_lookup_key` of
        its own. Without any, the features are the current ones, as of the time of the call. Raises: NotFound, RequestError, TypeMismatch.
        """
        more = {"name": name, "known": known, "split": split, "by": by}
        with training_set_reporter(progress) as report:
            prepared = self.backend.prepare_lookups(frame, feature_lookups, label, exclude_columns, timestamp, **more)
            return self.backend.build_training_set(prepared, report)
