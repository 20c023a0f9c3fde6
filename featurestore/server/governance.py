"""Promotions and audits of models over HTTP; each runs in a worker process, since it reads snapshots and asks MLflow."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.access.privileges import Kind, Privilege
from featurestore.errors import RequestError
from featurestore.server import json_body
from featurestore.server.access.access import rights_of
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import Needs, on
from featurestore.server.requests.body import Body
from featurestore.server.requests.governance import (
    ApprovedBody,
    ArchivingBody,
    DemotionBody,
    PromotionBody,
    RollbackBody,
    TrafficBody,
    TrafficComparisonBody,
)
from featurestore.server.responses import governance as bodies
from featurestore.server.routing import EngineRoute, LongRoute, get, json_of, post, put
from featurestore.store import FeatureStore
from featurestore.values.result import to_dicts

TAG = "models"
APPROVE = on(Privilege.APPROVE_MODEL, Kind.MODEL, "name")
Selector = Annotated[str, Query(min_length=1, max_length=2000)]


class Governance:
    """The routes that change which version of a model has an alias, and verify the chain behind it."""

    def __init__(self, store: FeatureStore) -> None:
        self._store, self._callers = store, Callers(store)

    def routes(self) -> list[APIRoute]:
        """The routes of promotions and audits."""
        changes: list[tuple[str, Callable[..., Any], type[Body]]] = [
            ("promotions", self.promote_model, PromotionBody),
            ("demotions", self.demote_model, DemotionBody),
            ("rollbacks", self.roll_back_model, RollbackBody),
            ("archivings", self.archive_model, ArchivingBody),
        ]
        return [
            get(
                "/v1/predictions/{request_id}/replay",
                self.replay_prediction,
                TAG,
                needs=Needs.ADMINISTRATOR,
                kind=LongRoute,
                response_model=bodies.Replay,
            ),
            get(
                "/v1/retention",
                self.explain_retention,
                "maintenance",
                needs=Needs.ADMINISTRATOR,
                response_model=list[bodies.RetainedSnapshot],
            ),
            get(
                "/v1/models/{name}/traffic",
                self.get_traffic,
                TAG,
                needs=on(Privilege.USE, Kind.MODEL, "name"),
                kind=EngineRoute,
                response_model=bodies.Traffic,
            ),
            put(
                "/v1/models/{name}/traffic",
                self.set_traffic,
                TAG,
                needs=APPROVE,
                kind=LongRoute,
                response_model=bodies.Traffic,
                openapi_extra=json_of(TrafficBody),
            ),
            post(
                "/v1/models/{name}/traffic-comparisons",
                self.compare_traffic,
                TAG,
                needs=Needs.ADMINISTRATOR,
                kind=LongRoute,
                response_model=bodies.TrafficComparison,
                openapi_extra=json_of(TrafficComparisonBody),
            ),
            get("/v1/models/{name}/audit", self.audit_model, TAG, needs=Needs.ADMINISTRATOR, kind=LongRoute, response_model=bodies.Audit),
            *(
                post(
                    f"/v1/models/{{name}}/{what}",
                    endpoint,
                    TAG,
                    needs=APPROVE,
                    kind=LongRoute,
                    response_model=bodies.AliasChange,
                    openapi_extra=json_of(body),
                )
                for what, endpoint, body in changes
            ),
        ]

    def replay_prediction(
        self,
        request: Request,
        request_id: str,
        row: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
        model: Selector | None = None,
        at: Selector | None = None,
    ) -> dict[str, Any]:
        """Compute a logged prediction again, from the snapshots and the time that its row names; `why` says what differs, and why.

        409 lists the requests that have this id, if they differ: `model` and `at`, the time of the prediction, say which.
        """
        return self._callers.of(request).replay(request_id, row, model, at).to_dict()

    def explain_retention(self, request: Request) -> list[dict[str, Any]]:
        """Every snapshot of every table of the store, oldest first, with what keeps it alive; empty for one that expires in time."""
        return to_dicts(self._callers.of(request).explain_retention())

    def audit_model(
        self, request: Request, name: str, version: Selector | None = None, alias: Selector | None = None, deep: bool = False
    ) -> dict[str, Any]:
        """The chain behind a version of a model, from raw tables to predictions, each link verified; `broken` names the others."""
        if (version is None) == (alias is None):
            raise RequestError("give either ?version= or ?alias=, to say which version to audit", field="version")
        uri = f"models:/{name}/{version}" if alias is None else f"models:/{name}@{alias}"
        return self._callers.of(request).audit(uri, deep).to_dict()

    def get_traffic(self, request: Request, name: str) -> dict[str, Any]:
        """How the requests to a model are split among aliases, with all periods before, newest first."""
        return self._callers.of(request).traffic(name).to_dict()

    async def set_traffic(self, request: Request, name: str) -> dict[str, Any]:
        """Split the requests to a model that name neither version nor alias; no weights remove the split.

        All servers follow within a second. 404 names an unknown alias, 409 a change that came first.
        """
        body = await json_body.read_typed(request, TrafficBody)
        caller = self._callers.of(request)
        traffic = await run_in_threadpool(caller.set_traffic, name, body.weights, body.shadow, approver=body.approver, reason=body.reason)
        return traffic.to_dict()

    async def compare_traffic(self, request: Request, name: str) -> dict[str, Any]:
        """Compare the logged predictions of a model by alias, version and role: counts, distributions and, with labels, metrics."""
        body = await json_body.read_typed(request, TrafficComparisonBody, TrafficComparisonBody())
        labels = None if body.labels is None else body.labels.to_spine()
        compare = self._callers.of(request).compare_traffic
        comparison = await run_in_threadpool(compare, name, body.since, labels, body.label, body.timestamp)
        return comparison.to_dict()

    async def promote_model(self, request: Request, name: str) -> dict[str, Any]:
        """Give an alias to a version, if its stamp, training set, snapshots and metrics are verified. 409 names what is missing."""
        return await self._change("promote", name, request, PromotionBody)

    async def demote_model(self, request: Request, name: str) -> dict[str, Any]:
        """Remove an alias, and record who did it and why."""
        return await self._change("demote", name, request, DemotionBody)

    async def roll_back_model(self, request: Request, name: str) -> dict[str, Any]:
        """Give an alias back to the version that had it before the current one. 409 if there is none."""
        return await self._change("rollback", name, request, RollbackBody)

    async def archive_model(self, request: Request, name: str) -> dict[str, Any]:
        """Mark a version as not to be promoted, or restore it. 409 if it has an alias."""
        return await self._change("archive", name, request, ArchivingBody)

    async def _change(self, action: str, name: str, request: Request, body_type: type[ApprovedBody]) -> dict[str, Any]:
        body = await json_body.read_typed(request, body_type)
        rights_of(request.scope).check_author(body.approver, "approver")
        return await run_in_threadpool(self._run, action, name, body.model_dump())

    def _run(self, action: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
        # Imported here: MLflow takes a second to import, and may not be installed.
        from featurestore import models  # noqa: PLC0415

        done: dict[str, Any] = getattr(models, action)(name, **options, store=self._store).to_dict()
        return done
