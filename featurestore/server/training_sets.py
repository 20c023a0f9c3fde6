"""Training sets over HTTP: built as jobs, and streamed from the catalog when they are done."""

import functools
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from featurestore.errors import Conflict, NotReady
from featurestore.pipelines.training_sets.spooled import spool
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.server import responses, spines, streams
from featurestore.server.jobs.handlers import TRAINING_SET, rebuilt
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.requests import JoinBody, JoinFields, TrainingSetBody, TrainingSetFields
from featurestore.server.routing import CANCEL_SECONDS, EngineRoute, LongRoute, Wait, delete, get, post
from featurestore.server.uploads.reader import UploadReader
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "training sets"

Responses = dict[int | str, dict[str, Any]]
Columns = Annotated[list[str] | None, Query()]


class TrainingSets:
    """Routes that build, watch, read and verify training sets."""

    def __init__(self, store: FeatureStore, jobs: Jobs, uploads: UploadReader) -> None:
        self._store = store
        self._jobs = jobs
        self._uploads = uploads

    def routes(self) -> list[APIRoute]:
        """What is served."""
        both = spines.described(TrainingSetFields, TrainingSetBody)
        joined = spines.described(JoinFields, JoinBody)
        binary: Responses = {200: {"content": {kind: {} for kind in streams.MEDIA_TYPES.values()}}}
        arrow: Responses = {200: {"content": {streams.MEDIA_TYPES["arrow"]: {}}}}
        return [
            post(
                "/v1/training-sets",
                self.create_training_set,
                TAG,
                kind=EngineRoute,
                status_code=202,
                response_model=responses.Accepted,
                openapi_extra=both,
            ),
            get("/v1/training-sets", self.list_training_sets, TAG, response_model=list[responses.TrainingSetLine]),
            get("/v1/training-sets/{id}", self.get_training_set, TAG, response_model=responses.TrainingSetState),
            delete("/v1/training-sets/{id}", self.cancel_training_set, TAG, response_model=responses.TrainingSetState),
            get(
                "/v1/training-sets/{id}/statistics",
                self.get_statistics,
                TAG,
                kind=EngineRoute,
                response_model=responses.Statistics,
                response_model_exclude_unset=True,
            ),
            get("/v1/training-sets/{id}/files", self.get_files, TAG, response_model=responses.TrainingSetFiles),
            get("/v1/training-sets/{id}/data", self.get_data, TAG, response_class=StreamingResponse, responses=binary),
            post("/v1/training-sets/{id:path}/rebuild", self.rebuild_training_set, TAG, kind=LongRoute, response_model=responses.Rebuilt),
            post(
                "/v1/point-in-time",
                self.point_in_time,
                TAG,
                kind=EngineRoute,
                response_class=StreamingResponse,
                responses=arrow,
                openapi_extra=joined,
            ),
        ]

    async def create_training_set(self, request: Request) -> dict[str, Any]:
        """Join a spine with a service's features as of each row's time.

        The response has the id at once: a digest of the request, the spine and the snapshots. The same request on the same snapshots
        has the same id, and an existing training set is not built again.
        """
        fields, spine = await spines.read(request, TrainingSetFields, TrainingSetBody, self._uploads)
        return await run_in_threadpool(self._start, fields, spine)

    def list_training_sets(self) -> list[dict[str, Any]]:
        """Every finished training set, newest first."""
        return to_dicts(self._store.training_sets())

    async def get_training_set(self, id: str, wait: Wait = 0) -> dict[str, Any]:
        """State, progress and, when it is done, the manifest of a training set."""
        await self._jobs.ended(id, wait)
        return await run_in_threadpool(self._state, id)

    async def cancel_training_set(self, id: str, wait: Wait = CANCEL_SECONDS) -> dict[str, Any]:
        """Cancel a build that is queued or running; nothing of it remains, and the same request starts it again.

        409 when it is done, or when only its commit was left, which is then completed.
        """
        if self._job(id) is not None:
            await run_in_threadpool(self._jobs.cancel, id)
            await self._jobs.ended(id, wait)
        state = await run_in_threadpool(self._state, id)
        if state["state"] == "done":
            raise Conflict(f"training set {id} is done: there is no build to cancel")
        return state

    def get_statistics(self, id: str) -> dict[str, Any]:
        """Statistics of the features and the label: counts, quantiles, histograms, frequent values."""
        return self._finished(id).statistics

    def get_files(self, id: str) -> dict[str, Any]:
        """The paths of the Parquet files of all rows, as the server sees them, with their table and snapshot."""
        found = self._finished(id).files()
        return {"table": found.table, "snapshot_id": str(found.snapshot_id), "files": list(found)}

    def get_data(self, id: str, format: streams.Format = "arrow", split: str | None = None, columns: Columns = None) -> StreamingResponse:
        """The rows in spine order, or those of one part of the split: the spine's columns, then the features; or `columns` of these.

        `columns` may also include the row number `__fs_row` and, with a split, the part `__fs_split`.
        """
        found = self._finished(id)
        rows = (found if split is None else found.split(split)).reader(columns)
        return _streamed(streams.chunks(rows, format), format, id)

    def rebuild_training_set(self, id: str) -> dict[str, Any]:
        """Compute a training set again from its pinned snapshots alone, and wait for it; 409 names the columns that differ.

        A model URI stands for the model's training set. `POST /v1/rebuilds` does the same as a job.
        """
        return rebuilt(self._store.rebuild(id))

    async def point_in_time(self, request: Request) -> StreamingResponse:
        """The spine with a service's features as of each row's time, as an Arrow IPC stream; nothing is stored."""
        fields, spine = await spines.read(request, JoinFields, JoinBody, self._uploads)
        table = await run_in_threadpool(
            self._store.point_in_time, fields.service, spine, fields.timestamp, known=fields.known, snapshots=fields.pins()
        )
        return _streamed(streams.chunks(table.to_reader(65_536), "arrow"), "arrow", fields.service)

    def _start(self, fields: TrainingSetFields, spine: Any) -> dict[str, Any]:
        prepared = self._store.backend.prepare_training_set(fields.request(spine))
        url = f"/v1/training-sets/{prepared.id}"
        if self._store.backend.find_training_set(prepared.id) is not None:
            return {"id": prepared.id, "state": "done", "url": url}
        job = self._jobs.start(prepared.id, TRAINING_SET, {}, functools.partial(spool, prepared))
        return {"id": job.id, "state": job.state, "url": url}

    def _finished(self, id: str) -> TrainingSet:
        """The training set. Raises: NotReady while it is built, NotFound."""
        job = self._job(id)
        if job is not None and job.live:
            raise NotReady(f"training set {id} is {job.state}; ask /v1/training-sets/{id} when it is done", state=job.state)
        return self._store.get_training_set(id)

    def _job(self, id: str) -> Job | None:
        job = self._jobs.get(id)
        return job if job is not None and job.kind == TRAINING_SET else None

    def _state(self, id: str) -> dict[str, Any]:
        job = self._job(id)
        if job is not None and job.live:
            return {"id": id, "state": job.state, "progress": job.progress}
        found = self._store.backend.find_training_set(id)
        if found is None and job is not None and job.state in ("failed", "cancelled"):
            return {"id": id, "state": job.state, "progress": job.progress, "error": job.error}
        manifest = (found or self._store.get_training_set(id)).manifest
        rows = manifest["rows"]
        return {"id": id, "state": "done", "progress": {"stage": "done", "rows": rows, "total": rows}, "manifest": manifest}


def _streamed(content: Iterator[bytes], form: streams.Format, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(content, media_type=streams.MEDIA_TYPES[form], headers=headers)
