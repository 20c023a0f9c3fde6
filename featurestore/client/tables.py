"""The methods of a server for tables that are written by key and for feature lookups, as exchanges."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from featurestore.client import spines
from featurestore.client.answers import reading_answer
from featurestore.client.arguments import path_part
from featurestore.client.decoding import check_object
from featurestore.client.json_rows import encode_body
from featurestore.client.steps import Exchange, Work, post
from featurestore.client.training_sets import TrainingSetVerbs
from featurestore.dsl.lookup import FeatureLookup
from featurestore.dsl.source import Source
from featurestore.errors import RequestError, brief
from featurestore.pipelines.lineage.history import TableEvent
from featurestore.pipelines.pushed.push import Pushed
from featurestore.pipelines.pushed.write import SourceWrite, SourceWriteMode, check_source_mode
from featurestore.pipelines.training_sets.progress import BuildProgress
from featurestore.pipelines.training_sets.splits import SplitRequest, parse_split
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.pipelines.written.schema import columns_of_schema
from featurestore.pipelines.written.write import TableWrite, WriteMode, check_mode
from featurestore.progress import TrainingSetProgress, training_set_reporter
from featurestore.records.listings import ViewDetail
from featurestore.records.names import source_name
from featurestore.values import frames
from featurestore.values.arguments import Known, check_column_names, check_known, check_tags, check_text, naming


class TableVerbs(TrainingSetVerbs):
    """The methods for tables that are written by key, and training sets of feature lookups; `FeatureStore` documents them."""

    def create_table(
        self,
        name: str,
        keys: str | Sequence[str],
        timestamp: str | None = None,
        *,
        schema: Any,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Exchange[ViewDetail]:
        """Create a feature table that `write_table` fills by key, or add the columns that it lacks."""
        body = {
            "name": check_text(name, "name"),
            "keys": check_column_names(keys, "keys"),
            "timestamp": None if timestamp is None else check_text(timestamp, "timestamp"),
            "schema": columns_of_schema(schema),
            "description": check_text(description, "description"),
            "tags": check_tags(tags),
        }
        return self._calls.read_result(ViewDetail, post("/v1/tables", body, unlimited=True))

    def write_table(self, name: str, frame: Any, mode: WriteMode = "merge", run_id: str | None = None) -> Exchange[TableWrite]:
        """Upload rows, and write them to a table in one commit."""
        fields = {"table": check_text(name, "name"), "mode": check_mode(mode)}
        if run_id is not None:
            fields["run_id"] = check_text(run_id, "run_id")
        with ExitStack() as stack:
            options = yield Work(lambda: stack.enter_context(spines.upload(_rows(frame), fields, "rows")))
            answer = yield post("/v1/table-writes", unlimited=True, **options)
        with reading_answer(self._url):
            return TableWrite.from_dict(check_object(answer))

    def push(self, source: str | Source, rows: Any) -> Exchange[Pushed]:
        """Push rows to a source: a list of dicts as JSON, others as an Arrow stream."""
        path = f"/v1/sources/{path_part(source_name(source), 'source')}/push"
        with naming("rows"):
            if isinstance(rows, list):
                request = post(path, content=encode_body({"rows": rows}), headers={"Content-Type": "application/json"})
            else:
                content = yield Work(lambda: _stream(_rows(rows)))
                request = post(path, content=content, headers={"Content-Type": spines.ARROW})
        return (yield from self._calls.read_result(Pushed, request))

    def write(self, source: str | Source, frame: Any, mode: SourceWriteMode = "append") -> Exchange[SourceWrite]:
        """Upload rows, and write them to the table of a source."""
        fields = {"source": source_name(source), "mode": check_source_mode(mode)}
        with ExitStack() as stack:
            options = yield Work(lambda: stack.enter_context(spines.upload(_rows(frame), fields, "rows")))
            answer = yield post("/v1/source-writes", unlimited=True, **options)
        with reading_answer(self._url):
            return SourceWrite.from_dict(check_object(answer))

    def history(self, table: str) -> Exchange[list[TableEvent]]:
        """What happened to a table, the newest first."""
        return self._calls.get_results(TableEvent, f"/v1/tables/{path_part(table, 'table')}/history")

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
    ) -> Exchange[TrainingSet]:
        """Join a frame with features of written tables and views on the server, store the result, and wait for it."""
        parts = parse_split(split, by)
        fields = {
            "feature_lookups": [_document(lookup) for lookup in _as_list(feature_lookups)],
            "label": None if label is None else check_text(label, "label"),
            "exclude_columns": None if exclude_columns is None else check_column_names(exclude_columns, "exclude_columns"),
            "timestamp": None if timestamp is None else check_text(timestamp, "timestamp"),
            "name": None if name is None else check_text(name, "name"),
            "known": check_known(known),
            "split": None if parts is None else parts.request(),
            "by": None if parts is None or not parts.by else list(parts.by),
        }
        sent = {field: value for field, value in fields.items() if value is not None}
        times = [] if timestamp is None else [timestamp]
        with training_set_reporter(progress) as report:
            with ExitStack() as stack:
                with naming("frame"):
                    options = yield Work(lambda: stack.enter_context(spines.spine_options(frame, sent, times)))
                job = yield post("/v1/lookup-training-sets", unlimited=True, **options)
            done = yield from self._calls.wait_for_job(job, None if report is None else lambda state: report(BuildProgress(**state)))
        return self._training_set(done["manifest"])


def _rows(frame: Any) -> pa.Table:
    rows = frames.to_arrow_table(frame, "the frame")
    if rows is None:
        raise RequestError(f"the frame is text; give {frames.MEMORY}", field="frame")
    return rows


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _as_list(lookups: Any) -> list[FeatureLookup]:
    listed = [lookups] if isinstance(lookups, FeatureLookup) else lookups
    if not isinstance(listed, list | tuple) or not listed or not all(isinstance(lookup, FeatureLookup) for lookup in listed):
        raise RequestError(f"feature_lookups={brief(lookups)} must be a list of FeatureLookup(...)", field="feature_lookups")
    return list(listed)


def _document(lookup: FeatureLookup) -> dict[str, Any]:
    return {name: value for name, value in asdict(lookup).items() if value is not None}
