"""The routes that start, watch and cancel operations that run as jobs."""

import uuid
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.access.claim import Claim
from featurestore.access.rights import Rights
from featurestore.errors import Conflict, NotFound
from featurestore.server import json_body, responses
from featurestore.server.access.access import rights_of
from featurestore.server.access.needs import Needs
from featurestore.server.jobs.job import Job
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.operations import OPERATIONS, Operation
from featurestore.server.requests import Body
from featurestore.server.routing import CANCEL_SECONDS, Wait, delete, get, json_of, post
from featurestore.store import FeatureStore, PrincipalStore


class JobRoutes:
    """The routes of an operation."""

    def __init__(self, store: FeatureStore, jobs: Jobs, operation: Operation) -> None:
        self._store = store
        self._jobs = jobs
        self._operation = operation

    def routes(self) -> list[APIRoute]:
        """A POST, a GET and a DELETE route, with operation ids made from the kind of job."""
        operation = self._operation
        kind, path, tag, state = operation.kind, operation.path, operation.tag, operation.state
        needs = Needs.ADMINISTRATOR if operation.needs is None else Needs.VERB
        return [
            post(
                path,
                self.start,
                tag,
                needs=needs,
                name=f"start_{kind}",
                description=operation.summary,
                status_code=202,
                response_model=responses.AcceptedJob,
                openapi_extra=json_of(operation.body, not operation.has_default),
            ),
            get(
                f"{path}/{{id}}",
                self.state,
                tag,
                needs=needs,
                name=f"get_{kind}",
                description=f"The state of a {kind} and, when it is done, its result.",
                response_model=state,
            ),
            delete(
                f"{path}/{{id}}",
                self.cancel,
                tag,
                needs=needs,
                name=f"cancel_{kind}",
                description=f"Cancel a {kind} that is queued or running. {operation.after_cancel} 409 if it is done.",
                response_model=state,
            ),
        ]

    async def start(self, request: Request) -> dict[str, Any]:
        """Check the request and queue its job. Raises: the errors of the check; NotReady if too many jobs are queued."""
        body, default = self._operation.body, self._operation.body() if self._operation.has_default else None
        return await run_in_threadpool(self._start, await json_body.read_typed(request, body, default), rights_of(request.scope))

    async def state(self, request: Request, id: str, wait: Wait = 0) -> dict[str, Any]:
        """The state of the job when it ends, or after `wait` seconds."""
        self._check_owner(request, id)
        return self._document(id, await self._jobs.wait_for_end(id, wait))

    async def cancel(self, request: Request, id: str, wait: Wait = CANCEL_SECONDS) -> dict[str, Any]:
        """Cancel the job. Raises: Conflict if it is done."""
        self._check_owner(request, id)
        await run_in_threadpool(self._jobs.cancel, id)
        state = self._document(id, await self._jobs.wait_for_end(id, wait))
        if state["state"] == "done":
            raise Conflict(f"{id} is done: there is nothing to cancel")
        return state

    def _start(self, body: Body, rights: Rights) -> dict[str, Any]:
        kind, caller = self._operation.kind, PrincipalStore(self._store, rights)
        needs = None if self._operation.needs is None else self._operation.needs(caller, body)
        if needs is None:
            rights.require_unlimited(f"POST {self._operation.path} with this body")
        caller.require_all(needs or ())
        checked = self._operation.check(self._store, body)
        job = self._jobs.start(f"{kind}-{uuid.uuid4().hex[:16]}", kind, checked, claim=Claim(rights.principal, needs or ()))
        return {"id": job.id, "state": job.state, "url": f"{self._operation.path}/{job.id}"}

    def _check_owner(self, request: Request, id: str) -> None:
        """Check that whoever asks is an administrator, or asked for the job. Raises: NotFound, as for a job that does not exist."""
        job, rights = self._jobs.get(id), rights_of(request.scope)
        if not rights.is_unlimited and (job is None or job.by != rights.principal.name):
            raise NotFound(self._operation.kind, id)
        self._document(id, job)

    def _document(self, id: str, job: Job | None) -> dict[str, Any]:
        if job is None or job.kind != self._operation.kind:
            raise NotFound(self._operation.kind, id)
        return {"id": id, "state": job.state, "progress": job.progress, "result": job.result, "error": job.error}


def job_routes(store: FeatureStore, jobs: Jobs) -> list[APIRoute]:
    """The routes of all operations."""
    return [route for operation in OPERATIONS for route in JobRoutes(store, jobs, operation).routes()]
