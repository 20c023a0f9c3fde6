"""Training sets of a server, as exchanges: built there from an uploaded spine, and read over HTTP."""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa

from featurestore.client import spines
from featurestore.client.answers import reading_answer
from featurestore.client.arguments import JOB_PATHS, path_part
from featurestore.client.decoding import check_object
from featurestore.client.listings import ListingVerbs
from featurestore.client.steps import Exchange, Request, Work, delete, post
from featurestore.dsl.csv_format import Csv
from featurestore.errors import NotFound
from featurestore.pipelines.training_sets import splits
from featurestore.pipelines.training_sets.comparison_result import Comparison
from featurestore.pipelines.training_sets.files import Files
from featurestore.pipelines.training_sets.progress import BuildProgress
from featurestore.pipelines.training_sets.request import TrainingSetRequest
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.progress import TrainingSetProgress, training_set_reporter
from featurestore.spines.join_request import JoinRequest
from featurestore.values.arguments import (
    Known,
    Snapshots,
    check_name,
    check_text,
)


class TrainingSetVerbs(ListingVerbs):
    """The methods that join a spine with features, and those that read, rebuild and compare the results."""

    def training_set(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        label: str | None = None,
        name: str | None = None,
        known: Known = "now",
        snapshots: Snapshots | None = None,
        split: splits.SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        progress: TrainingSetProgress = None,
        format: Csv | None = None,
    ) -> Exchange[TrainingSet]:
        """Join a spine with a service's features as of each row's time, store the result, and wait for it.

        Frames and files of this machine are uploaded; "iceberg:..." and SQL name tables of the server, which also makes the spine of
        `start`, `end` and `every`. `format` is the format of a spine's CSV files.
        """
        request = TrainingSetRequest.of(
            service,
            spine,
            timestamp,
            start=start,
            end=end,
            every=every,
            format=format,
            known=known,
            snapshots=snapshots,
            label=label,
            name=name,
            split=split,
            by=by,
        )
        with training_set_reporter(progress) as report:
            with ExitStack() as stack:
                options = yield Work(lambda: stack.enter_context(spines.request_options(request)))
                job = yield post("/v1/training-sets", unlimited=True, **options)
            done = yield from self._calls.wait_for_job(job, None if report is None else lambda state: report(BuildProgress(**state)))
        return self._training_set(done["manifest"])

    def cancel(self, id: str) -> Exchange[str]:
        """Cancel the job with this id; its state then: `cancelled`, or `failed` if it had failed before.

        Nothing of a training set remains, and the same request builds it. Raises: NotFound; Conflict if it is done.
        """
        kind, _, _ = check_text(id, "id").rpartition("-")
        # A training set may be named like a kind of job.
        if kind in JOB_PATHS:
            with suppress(NotFound):
                return (yield from self._cancel_job(f"{JOB_PATHS[kind]}/{path_part(id, 'id')}"))
        return (yield from self._cancel_job(f"/v1/training-sets/{path_part(id, 'id')}"))

    def get_training_set(self, id: str) -> Exchange[TrainingSet]:
        """A stored training set. Raises: NotFound with the nearest ids."""
        ended = yield from self._calls.wait_for_end(f"/v1/training-sets/{path_part(id, 'id')}")
        return self._training_set(ended["manifest"])

    def rebuild(self, id_or_model_uri: str) -> Exchange[TrainingSet]:
        """Compute a training set again on the server, from its pinned snapshots alone, and compare. Raises: DigestMismatch."""
        result = yield from self._calls.run_job("/v1/rebuilds", {"id": check_name(id_or_model_uri, "id_or_model_uri")})
        with reading_answer(self._url):
            manifest = check_object(result["manifest"])
        return self._training_set(manifest)

    def compare(self, a: str, b: str) -> Exchange[Comparison]:
        """The differences of training set `b` from `a`. A model URI stands for the model's training set."""
        result = yield from self._calls.run_job("/v1/comparisons", {"a": check_name(a, "a"), "b": check_name(b, "b")})
        with reading_answer(self._url):
            return Comparison.from_dict(result)

    def point_in_time(
        self,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        known: Known = "now",
        snapshots: Snapshots | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        every: str | None = None,
        format: Csv | None = None,
    ) -> Exchange[pa.Table]:
        """The spine, or a grid as in `training_set`, with a service's features as of each row's time, not stored."""
        request = JoinRequest.of(
            service, spine, timestamp, start=start, end=end, every=every, format=format, known=known, snapshots=snapshots
        )
        with ExitStack() as stack:
            options = yield Work(lambda: stack.enter_context(spines.request_options(request)))
            rows: pa.Table = yield post("/v1/point-in-time", rows=True, unlimited=True, **options)
            return rows

    def _cancel_job(self, path: str) -> Exchange[str]:
        """The state of a job after its cancellation."""
        answer = yield delete(path)
        with reading_answer(self._url):
            return str(check_object(answer)["state"])

    def _training_set(self, manifest: dict[str, Any]) -> TrainingSet:
        with reading_answer(self._url):
            path = f"/v1/training-sets/{path_part(manifest['id'], 'id')}"

        def read(part: str | None = None, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
            params = {"split": part, "columns": None if columns is None else list(columns)}
            chosen = {name: value for name, value in params.items() if value is not None}
            return self._transport.rows(Request("GET", f"{path}/data", {"params": chosen}, safe=True))

        def open_files() -> Files:
            answer = self._transport.get(f"{path}/files")
            with reading_answer(self._url):
                return Files(answer["files"], answer["table"], int(answer["snapshot_id"]))

        return TrainingSet(manifest, read, open_files, partial(self._transport.get, f"{path}/statistics", unlimited=True))
