"""Training sets over HTTP: a job builds them, and their rows are streamed from the catalog."""

import functools
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from featurestore.access.claim import Claim
from featurestore.access.privileges import Privilege
from featurestore.errors import Conflict, NotReady
from featurestore.pipelines.training_sets.prepared import PreparedTrainingSet
from featurestore.pipelines.training_sets.spooled import spool
from featurestore.pipelines.training_sets.training_set import TrainingSet
from featurestore.server import responses, spines, streams
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import Needs
from featurestore.server.jobs.handlers import TRAINING_SET, rebuild_result
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.requests import (
    JoinBody,
    JoinFields,
    LookupFields,
    LookupTrainingSetBody,
    TrainingSetBody,
    TrainingSetFields,
)
from featurestore.server.routing import CANCEL_SECONDS, EngineRoute, LongRoute, Wait, delete, get, post
from featurestore.server.uploads.reader import UploadReader
from featurestore.spines.written_numbers import without_written_numbers
from featurestore.store import FeatureStore, PrincipalStore
from featurestore.values.result import to_dicts

TAG = "training sets"

Responses = dict[int | str, dict[str, Any]]
Columns = Annotated[list[str] | None, Query()]


class TrainingSets:
    """The routes that build, watch, read and rebuild training sets."""

    def __init__(self, store: FeatureStore, jobs: Jobs, uploads: UploadReader) -> None:
        self._callers = Callers(store)
        self._jobs = jobs
        self._uploads = uploads

    def routes(self) -> list[APIRoute]:
        """The routes of training sets and point-in-time joins."""
        build = spines.describe(TrainingSetFields, TrainingSetBody)
        join = spines.describe(JoinFields, JoinBody)
        binary: Responses = {200: {"content": {media_type: {} for media_type in streams.MEDIA_TYPES.values()}}}
        arrow: Responses = {200: {"content": {streams.MEDIA_TYPES["arrow"]: {}}}}
        return [
            post(
                "/v1/training-sets",
                self.create_training_set,
                TAG,
                needs=Needs.VERB,
                kind=EngineRoute,
                status_code=202,
                response_model=responses.AcceptedJob,
                openapi_extra=build,
            ),
            post(
                "/v1/lookup-training-sets",
                self.create_lookup_training_set,
                TAG,
                needs=Needs.ADMINISTRATOR,
                kind=EngineRoute,
                status_code=202,
                response_model=responses.AcceptedJob,
                openapi_extra=spines.describe(LookupFields, LookupTrainingSetBody),
            ),
            get(
                "/v1/training-sets",
                self.list_training_sets,
                TAG,
                needs=Needs.VERB,
                response_model=list[responses.TrainingSetSummary],
            ),
            get("/v1/training-sets/{id}", self.get_training_set, TAG, needs=Needs.VERB, response_model=responses.TrainingSetState),
            delete(
                "/v1/training-sets/{id}",
                self.cancel_training_set,
                TAG,
                needs=Needs.VERB,
                response_model=responses.TrainingSetState,
            ),
            get(
                "/v1/training-sets/{id}/statistics",
                self.get_statistics,
                TAG,
                needs=Needs.VERB,
                kind=EngineRoute,
                response_model=responses.Statistics,
                response_model_exclude_unset=True,
            ),
            get("/v1/training-sets/{id}/files", self.get_files, TAG, needs=Needs.VERB, response_model=responses.TrainingSetFiles),
            get(
                "/v1/training-sets/{id}/data",
                self.get_data,
                TAG,
                needs=Needs.VERB,
                response_class=StreamingResponse,
                responses=binary,
            ),
            delete(
                "/v1/training-sets/{id}/data",
                self.remove_training_set,
                TAG,
                needs=Needs.ADMINISTRATOR,
                kind=LongRoute,
                response_model=responses.TrainingSetRemoval,
            ),
            post(
                "/v1/training-sets/{id:path}/rebuild",
                self.rebuild_training_set,
                TAG,
                needs=Needs.VERB,
                kind=LongRoute,
                response_model=responses.RebuildResult,
            ),
            post(
                "/v1/point-in-time",
                self.point_in_time,
                TAG,
                needs=Needs.VERB,
                kind=EngineRoute,
                response_class=StreamingResponse,
                responses=arrow,
                openapi_extra=join,
            ),
        ]

    async def create_training_set(self, request: Request) -> dict[str, Any]:
        """Start a job that joins a service's features to a spine as of each row's time, and stores the rows.

        The response has the id: a digest of the request, the spine and the snapshots. The same request on the same snapshots has the
        same id, and a training set that exists is not built again.
        """
        fields, spine = await spines.read(request, TrainingSetFields, TrainingSetBody, self._uploads)
        return await run_in_threadpool(self._start, self._callers.of(request), fields, spine)

    async def create_lookup_training_set(self, request: Request) -> dict[str, Any]:
        """Start a job that joins a frame with features of written tables and views, and stores the rows.

        The lookups make a service, which is registered under a name with its fingerprint. The id is watched at `/v1/training-sets/{id}`.
        """
        fields, spine = await spines.read(request, LookupFields, LookupTrainingSetBody, self._uploads)
        return await run_in_threadpool(self._start_lookups, self._callers.of(request), fields, spine)

    def list_training_sets(self, request: Request) -> list[dict[str, Any]]:
        """Every finished training set whose table the caller may use, newest first."""
        return to_dicts(self._callers.of(request).training_sets())

    async def get_training_set(self, request: Request, id: str, wait: Wait = 0) -> dict[str, Any]:
        """The state and progress of a training set, and its manifest when it is done."""
        self._callers.of(request).require_training_set(id)
        await self._jobs.wait_for_end(id, wait)
        return await run_in_threadpool(self._state, self._callers.of(request), id)

    async def cancel_training_set(self, request: Request, id: str, wait: Wait = CANCEL_SECONDS) -> dict[str, Any]:
        """Cancel a build that is queued or running. Nothing of it remains; the same request starts it again.

        409 if the training set is done, also if the build was already committing and has therefore been completed.
        """
        caller = self._callers.of(request)
        caller.require_training_set(id, Privilege.WRITE)
        if self._job(id) is not None:
            await run_in_threadpool(self._jobs.cancel, id)
            await self._jobs.wait_for_end(id, wait)
        if await run_in_threadpool(caller.has_training_set, id):
            raise Conflict(f"training set {id} is done: there is no build to cancel")
        return await run_in_threadpool(self._state, caller, id)

    def get_statistics(self, request: Request, id: str) -> dict[str, Any]:
        """Statistics of the features and the label: counts, quantiles, histograms, frequent values."""
        return self._get_finished(request, id).statistics

    def get_files(self, request: Request, id: str) -> dict[str, Any]:
        """The paths of the Parquet files of all rows, as the server sees them, with their table and snapshot."""
        files = self._get_finished(request, id).files()
        return {"table": files.table, "snapshot_id": str(files.snapshot_id), "files": list(files)}

    def get_data(
        self, request: Request, id: str, format: streams.Format = "arrow", split: str | None = None, columns: Columns = None
    ) -> StreamingResponse:
        """The rows in spine order: the spine columns, then the features. `split` selects one part of the split, `columns` some columns.

        `columns` may also include the row number `__fs_row` and, with a split, the part `__fs_split`.
        """
        training_set = self._get_finished(request, id)
        rows = (training_set if split is None else training_set.split(split)).reader(columns)
        return _stream(streams.chunks(rows, format), format, id)

    def remove_training_set(self, request: Request, id: str, dry_run: bool = False) -> dict[str, Any]:
        """Remove a training set with its rows and statistics. 409 names the models that were trained on it, and the tags that pin it."""
        return self._callers.of(request).remove_training_set(id, dry_run).to_dict()

    def rebuild_training_set(self, request: Request, id: str) -> dict[str, Any]:
        """Rebuild a training set from its pinned snapshots and wait for the result. 409 names the columns that differ.

        A model URI stands for the model's training set. `POST /v1/rebuilds` does the same as a job.
        """
        return rebuild_result(self._callers.of(request).rebuild(id))

    async def point_in_time(self, request: Request) -> StreamingResponse:
        """The spine joined with a service's features as of each row's time, as an Arrow IPC stream. Nothing is stored."""
        fields, spine = await spines.read(request, JoinFields, JoinBody, self._uploads)
        table = await run_in_threadpool(
            self._callers.of(request).point_in_time,
            fields.service,
            spine,
            fields.timestamp,
            known=fields.known,
            snapshots=fields.pinned_snapshots(),
        )
        return _stream(streams.chunks(table.to_reader(65_536), "arrow"), "arrow", fields.service)

    def _start(self, caller: PrincipalStore, fields: TrainingSetFields, spine: Any) -> dict[str, Any]:
        wanted = fields.request(spine)
        claim = Claim(caller.principal, caller.needs_of_build(wanted.service, wanted.name))
        return self._start_prepared(caller, caller.prepare_training_set(wanted), claim)

    def _start_lookups(self, caller: PrincipalStore, fields: LookupFields, spine: Any) -> dict[str, Any]:
        lookups = [lookup.to_lookup() for lookup in fields.feature_lookups]
        more = {name: getattr(fields, name) for name in ("name", "known", "split", "by")}
        rows = without_written_numbers(spine) if isinstance(spine, list) else spine
        prepared = caller.prepare_lookups(rows, lookups, fields.label, fields.exclude_columns, fields.timestamp, **more)
        return self._start_prepared(caller, prepared, Claim(caller.principal))

    def _start_prepared(self, caller: PrincipalStore, prepared: PreparedTrainingSet, claim: Claim) -> dict[str, Any]:
        url = f"/v1/training-sets/{prepared.id}"
        if caller.has_training_set(prepared.id):
            return {"id": prepared.id, "state": "done", "url": url}
        job = self._jobs.start(prepared.id, TRAINING_SET, {}, functools.partial(spool, prepared), claim)
        return {"id": job.id, "state": job.state, "url": url}

    def _get_finished(self, request: Request, id: str) -> TrainingSet:
        """The training set. Raises: Forbidden; NotReady while its build is queued or running; NotFound."""
        caller = self._callers.of(request)
        caller.require_training_set(id)
        job = self._job(id)
        if job is not None and job.live:
            raise NotReady(f"training set {id} is {job.state}; ask /v1/training-sets/{id} when it is done", state=job.state)
        return caller.get_training_set(id)

    def _job(self, id: str) -> Job | None:
        job = self._jobs.get(id)
        return job if job is not None and job.kind == TRAINING_SET else None

    def _state(self, caller: PrincipalStore, id: str) -> dict[str, Any]:
        job = self._job(id)
        if job is not None and job.live:
            return {"id": id, "state": job.state, "progress": job.progress}
        if job is not None and job.state in ("failed", "cancelled") and not caller.has_training_set(id):
            return {"id": id, "state": job.state, "progress": job.progress, "error": job.error}
        manifest = caller.get_training_set(id).manifest
        rows = manifest["rows"]
        return {"id": id, "state": "done", "progress": {"stage": "done", "rows": rows, "total": rows}, "manifest": manifest}


def _stream(content: Iterator[bytes], format: streams.Format, name: str) -> StreamingResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}.{format}"'}
    return StreamingResponse(content, media_type=streams.MEDIA_TYPES[format], headers=headers)
