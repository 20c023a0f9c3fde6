"""Training sets over HTTP: asked for, built in the background, and streamed; the catalog knows the finished ones."""

import asyncio
import time
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from featurestore.errors import NotReady
from featurestore.pipelines.prepared import Prepared
from featurestore.pipelines.splits import checked
from featurestore.server import answers, spines, streams
from featurestore.server.bodies import JoinBody, JoinFields, TrainingSetBody, TrainingSetFields
from featurestore.server.jobs import Jobs, Report
from featurestore.server.routing import get, post
from featurestore.store import FeatureStore

TAG = "training sets"
KIND = "training set"
LOOK_SECONDS = 0.05

Responses = dict[int | str, dict[str, Any]]
Wait = Annotated[float, Query(ge=0, le=60, description="seconds to wait for the end before answering with the state as it is")]


class TrainingSets:
    """Building, watching, reading and verifying."""

    def __init__(self, store: FeatureStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    def routes(self) -> list[APIRoute]:
        """What is served."""
        both = spines.described(TrainingSetFields, TrainingSetBody)
        joined = spines.described(JoinFields, JoinBody)
        binary: Responses = {200: {"content": {kind: {} for kind in streams.MEDIA_TYPES.values()}}}
        arrow: Responses = {200: {"content": {streams.MEDIA_TYPES["arrow"]: {}}}}
        return [
            post("/v1/training-sets", self.create_training_set, TAG, status_code=202, response_model=answers.Accepted, openapi_extra=both),
            get("/v1/training-sets", self.list_training_sets, TAG, response_model=list[answers.TrainingSetLine]),
            get("/v1/training-sets/{id}", self.get_training_set, TAG, response_model=answers.TrainingSetState),
            get(
                "/v1/training-sets/{id}/statistics",
                self.get_statistics,
                TAG,
                response_model=answers.Statistics,
                response_model_exclude_unset=True,
            ),
            get("/v1/training-sets/{id}/data", self.get_data, TAG, response_class=StreamingResponse, responses=binary),
            post("/v1/training-sets/{id:path}/rebuild", self.rebuild_training_set, TAG, response_model=answers.Rebuilt),
            get("/v1/comparisons", self.compare_training_sets, TAG, response_model=answers.Comparison),
            post("/v1/point-in-time", self.point_in_time, TAG, response_class=StreamingResponse, responses=arrow, openapi_extra=joined),
        ]

    async def create_training_set(self, request: Request) -> dict[str, Any]:
        """Join a spine with a service's features as of each row's time.

        The id comes at once: it is a digest of the request, the spine and the snapshots, so the same request on the same
        snapshots gives the same id, and what is there already is not built again.
        """
        fields, spine = await spines.read(request, TrainingSetFields, TrainingSetBody)
        return await run_in_threadpool(self._start, fields, spine)

    def list_training_sets(self) -> list[dict[str, Any]]:
        """Every finished training set, newest first."""
        return self._store.training_sets()

    async def get_training_set(self, id: str, wait: Wait = 0) -> dict[str, Any]:
        """State, progress and, when it is done, the manifest."""
        until = time.monotonic() + wait
        while (job := self._jobs.get(id)) is not None and job.live and time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
        return await run_in_threadpool(self._state, id)

    def get_statistics(self, id: str) -> dict[str, Any]:
        """What the features and the label look like: counts, quantiles, histograms, frequent values."""
        return self._store.get_training_set(id).statistics

    def get_data(self, id: str, format: streams.Format = "arrow", split: str | None = None) -> StreamingResponse:
        """The rows in spine order, or those of one part of the split: the spine's columns, then the features."""
        job = self._jobs.get(id)
        if job is not None and job.live:
            raise NotReady(f"training set {id} is {job.state}; ask /v1/training-sets/{id} when it is done", state=job.state)
        found = self._store.get_training_set(id)
        rows = found.read(None if split is None else checked(found.manifest, split))
        return _streamed(streams.chunks(rows, format), format, id)

    def rebuild_training_set(self, id: str) -> dict[str, Any]:
        """Compute it again from its pinned snapshots alone; 409 names the columns that differ.

        A model's URI stands for the training set it carries.
        """
        found = self._store.rebuild(id)
        return {"id": found.id, "verified": True, "digest": found.digest, "rows": found.manifest["rows"], "manifest": found.manifest}

    def compare_training_sets(self, a: str, b: str) -> dict[str, Any]:
        """What training set `b` has otherwise than `a`: definitions, rows, values, drift, and why; model URIs may stand for the ids."""
        return self._store.compare(a, b)

    async def point_in_time(self, request: Request) -> StreamingResponse:
        """The spine with a service's features as of each row's time, answered as an Arrow IPC stream and not stored."""
        fields, spine = await spines.read(request, JoinFields, JoinBody)
        table = await run_in_threadpool(
            self._store.point_in_time, fields.service, spine, fields.timestamp, known=fields.known, snapshots=fields.pins()
        )
        return _streamed(streams.chunks(table.to_reader(65_536), "arrow"), "arrow", fields.service)

    def _start(self, fields: TrainingSetFields, spine: Any) -> dict[str, Any]:
        prepared = self._store.prepare_training_set(
            fields.service,
            spine,
            fields.timestamp,
            label=fields.label,
            name=fields.name,
            known=fields.known,
            snapshots=fields.pins(),
            split=fields.split,
            by=fields.by,
        )
        url = f"/v1/training-sets/{prepared.id}"
        if self._store.find_training_set(prepared.id) is not None:
            return {"id": prepared.id, "state": "done", "url": url}
        job = self._jobs.start(prepared.id, KIND, lambda report: self._build(prepared, report))
        return {"id": job.id, "state": job.state, "url": url}

    def _build(self, prepared: Prepared, report: Report) -> None:
        total = prepared.spine.table.num_rows
        report({"stage": "join", "rows": 0, "total": total})
        self._store.build_training_set(prepared, lambda rows: report({"stage": "write", "rows": rows, "total": total}))

    def _state(self, id: str) -> dict[str, Any]:
        job = self._jobs.get(id)
        if job is not None and job.live:
            return {"id": id, "state": job.state, "progress": job.progress}
        found = self._store.find_training_set(id)
        if found is None and job is not None and job.state == "failed":
            return {"id": id, "state": "failed", "progress": job.progress, "error": job.error}
        manifest = (found or self._store.get_training_set(id)).manifest
        rows = manifest["rows"]
        return {"id": id, "state": "done", "progress": {"stage": "done", "rows": rows, "total": rows}, "manifest": manifest}


def _streamed(content: Iterator[bytes], form: streams.Format, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    return StreamingResponse(content, media_type=streams.MEDIA_TYPES[form], headers=headers)
