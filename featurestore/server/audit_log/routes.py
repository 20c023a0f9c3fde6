"""The audit log over HTTP, for administrators: entries, heads, verification; each in a worker process, since it reads a table."""

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.audit_log.results import ChainHead
from featurestore.server import json_body
from featurestore.server.access.needs import Needs
from featurestore.server.requests.audit_log import AuditQueryBody, VerificationBody
from featurestore.server.responses import audit_log as bodies
from featurestore.server.routing import EngineRoute, LongRoute, get, json_of, post
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "access"


class AuditLogRoutes:
    """The routes of the audit log."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def routes(self) -> list[APIRoute]:
        """The routes."""
        admin = Needs.ADMINISTRATOR
        return [
            post(
                "/v1/audit-log/queries",
                self.query_audit_log,
                TAG,
                needs=admin,
                kind=LongRoute,
                response_model=list[bodies.AuditEntry],
                openapi_extra=json_of(AuditQueryBody, required=False),
            ),
            get("/v1/audit-log/heads", self.audit_log_heads, TAG, needs=admin, kind=EngineRoute, response_model=list[bodies.ChainHead]),
            post(
                "/v1/audit-log/verifications",
                self.verify_audit_log,
                TAG,
                needs=admin,
                kind=LongRoute,
                response_model=bodies.AuditVerification,
                openapi_extra=json_of(VerificationBody, required=False),
            ),
        ]

    async def query_audit_log(self, request: Request) -> list[dict[str, Any]]:
        """The newest entries of the audit log that match, the newest first."""
        body = await json_body.read_typed(request, AuditQueryBody, AuditQueryBody())
        found = await run_in_threadpool(self._store.audit_log, body.principal, body.since, body.action, body.entity, body.limit)
        return to_dicts(found)

    def audit_log_heads(self) -> list[dict[str, Any]]:
        """The last entry of each chain of the audit log, to be kept where nobody can change it."""
        return to_dicts(self._store.audit_log_heads())

    async def verify_audit_log(self, request: Request) -> dict[str, Any]:
        """Verify every hash of the audit log, and that nothing is missing that its heads, and those in the body, prove."""
        body = await json_body.read_typed(request, VerificationBody, VerificationBody())
        heads = [ChainHead(head.chain, head.number, head.hash) for head in body.heads]
        return (await run_in_threadpool(self._store.verify_audit_log, heads)).to_dict()
