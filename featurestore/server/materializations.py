"""Materializations and upkeep over HTTP: long work as jobs to watch."""

import uuid
from datetime import timedelta
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.dsl import durations
from featurestore.errors import Conflict, NotFound, RequestError
from featurestore.server import json_body, responses
from featurestore.server.jobs.handlers import MATERIALIZATION
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.requests import MaintenanceBody, MaterializationBody
from featurestore.server.routing import CANCEL_SECONDS, LongRoute, Wait, delete, get, json_of, post
from featurestore.store import FeatureStore
from featurestore.values import times
from featurestore.values.result import to_dicts

TAG = "materializations"


class Materializations:
    """Bringing views up to date, and tidying their tables."""

    def __init__(self, store: FeatureStore, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs

    def routes(self) -> list[APIRoute]:
        """What is served."""
        told = {"openapi_extra": json_of(MaterializationBody, False)}
        return [
            post("/v1/materializations", self.start_materialization, TAG, status_code=202, response_model=responses.Accepted, **told),
            get("/v1/materializations/{id}", self.get_materialization, TAG, response_model=responses.Materialization),
            delete("/v1/materializations/{id}", self.cancel_materialization, TAG, response_model=responses.Materialization),
            post(
                "/v1/maintenance",
                self.maintain,
                TAG,
                kind=LongRoute,
                response_model=list[responses.Upkeep],
                openapi_extra=json_of(MaintenanceBody, False),
            ),
        ]

    async def start_materialization(self, request: Request) -> dict[str, Any]:
        """Bring views up to `end` (now), from their watermarks or from `start` on: feature tables and online store alike.

        The same interval again appends nothing. Materializations wait for one another.
        """
        asked = await json_body.read_typed(request, MaterializationBody, MaterializationBody())
        return await run_in_threadpool(self._start, asked)

    def _start(self, asked: MaterializationBody) -> dict[str, Any]:
        for name in asked.names or []:
            self._store.view(name)
        for what, bound in (("start", asked.start), ("end", asked.end)):
            if bound is not None:
                times.parse(bound, what)
        job = self._jobs.start(f"{MATERIALIZATION}-{uuid.uuid4().hex[:16]}", MATERIALIZATION, asked.model_dump())
        return {"id": job.id, "state": job.state, "url": f"/v1/materializations/{job.id}"}

    async def get_materialization(self, id: str, wait: Wait = 0) -> dict[str, Any]:
        """State, progress and, when it is done, what it did to each view."""
        return _answer(id, await self._jobs.ended(id, wait))

    async def cancel_materialization(self, id: str, wait: Wait = CANCEL_SECONDS) -> dict[str, Any]:
        """End one that waits or runs. Views that it has brought up to date stay so, as do whole chunks of a backfill, for the next run."""
        _answer(id, self._jobs.get(id))
        await run_in_threadpool(self._jobs.cancel, id)
        state = _answer(id, await self._jobs.ended(id, wait))
        if state["state"] == "done":
            raise Conflict(f"{id} is done: there is nothing to cancel")
        return state

    async def maintain(self, request: Request) -> list[dict[str, Any]]:
        """Expire snapshots that nothing pins, sweep files that no kept snapshot reaches, and make few files of many small ones."""
        asked = await json_body.read_typed(request, MaintenanceBody, MaintenanceBody())
        return await run_in_threadpool(self._maintain, asked)

    def _maintain(self, asked: MaintenanceBody) -> list[dict[str, Any]]:
        age = _age("older_than", asked.older_than)
        fold = None if asked.fold_older_than is None else _age("fold_older_than", asked.fold_older_than)
        return to_dicts(self._store.maintain(age, asked.dry_run, fold))


def _answer(id: str, job: Job | None) -> dict[str, Any]:
    if job is None or job.kind != MATERIALIZATION:
        raise NotFound("materialization", id)
    return {"id": id, "state": job.state, "progress": job.progress, "result": job.result, "error": job.error}


def _age(field: str, value: str) -> timedelta:
    try:
        return timedelta(microseconds=durations.microseconds(value))
    except ValueError as error:
        raise RequestError(f"{field}: {error}", field=field) from error
