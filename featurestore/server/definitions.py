"""List, plan, apply and remove definitions over HTTP; they are sent as JSON, never as Python code."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from featurestore.access.privileges import Kind, Privilege
from featurestore.dsl import documents
from featurestore.dsl.definitions import Definition, gather
from featurestore.errors import CommitConflict
from featurestore.pipelines.planning.plan import Plan
from featurestore.server import json_body, responses
from featurestore.server.access.callers import Callers
from featurestore.server.access.needs import USE_CATALOG, Needs, on
from featurestore.server.requests import ApplyBody, DefinitionsBody, PlanBody
from featurestore.server.routing import EngineRoute, delete, get, json_of, post
from featurestore.store import FeatureStore, PrincipalStore
from featurestore.values.arguments import Direction
from featurestore.values.result import to_dicts

TAG = "definitions"
Name = Annotated[str, Query(min_length=1, max_length=2000)]


class Definitions:
    """The routes of entities, sources, views and services."""

    def __init__(self, store: FeatureStore) -> None:
        self._callers = Callers(store)

    def routes(self) -> list[APIRoute]:
        """The routes of definitions."""
        manage = on(Privilege.MANAGE, Kind.VIEW, "name")
        return [
            get("/v1/entities", self.list_entities, TAG, needs=USE_CATALOG, response_model=list[responses.Entity]),
            get("/v1/sources", self.list_sources, TAG, needs=USE_CATALOG, response_model=list[responses.Source]),
            get("/v1/views", self.list_views, TAG, needs=Needs.VERB, response_model=list[responses.View]),
            get("/v1/views/{name}", self.get_view, TAG, needs=on(Privilege.USE, Kind.VIEW, "name"), response_model=responses.ViewDetail),
            get("/v1/services", self.list_services, TAG, needs=Needs.VERB, response_model=list[responses.Service]),
            get(
                "/v1/services/{name}",
                self.get_service,
                TAG,
                needs=on(Privilege.USE, Kind.SERVICE, "name"),
                response_model=responses.ServiceDetail,
            ),
            delete("/v1/views/{name}", self.remove_view, TAG, needs=manage, kind=EngineRoute, response_model=responses.Removal),
            delete(
                "/v1/views/{name}/versions/{version}",
                self.remove_version,
                TAG,
                needs=manage,
                kind=EngineRoute,
                response_model=responses.Removal,
            ),
            delete(
                "/v1/services/{name}",
                self.remove_service,
                TAG,
                needs=on(Privilege.MANAGE, Kind.SERVICE, "name"),
                kind=EngineRoute,
                response_model=responses.Removal,
            ),
            get("/v1/impact", self.find_impact, TAG, needs=USE_CATALOG, kind=EngineRoute, response_model=responses.Impact),
            get("/v1/lineage", self.find_lineage, TAG, needs=USE_CATALOG, kind=EngineRoute, response_model=responses.ColumnLineage),
            post(
                "/v1/plan",
                self.plan,
                TAG,
                needs=Needs.VERB,
                kind=EngineRoute,
                response_model=responses.Plan,
                openapi_extra=json_of(PlanBody),
            ),
            post(
                "/v1/apply",
                self.apply,
                TAG,
                needs=Needs.VERB,
                kind=EngineRoute,
                response_model=responses.Plan,
                openapi_extra=json_of(ApplyBody),
            ),
        ]

    def list_entities(self, request: Request) -> list[dict[str, Any]]:
        """All applied entities."""
        return to_dicts(self._callers.of(request).entities())

    def list_sources(self, request: Request) -> list[dict[str, Any]]:
        """All applied sources."""
        return to_dicts(self._callers.of(request).sources())

    def list_views(self, request: Request) -> list[dict[str, Any]]:
        """The newest version of every view that the caller may use, with its snapshot and watermark."""
        return to_dicts(self._callers.of(request).views())

    def get_view(self, request: Request, name: str) -> dict[str, Any]:
        """One view with its SQL, its definition and all versions."""
        return self._callers.of(request).view(name).to_dict()

    def list_services(self, request: Request) -> list[dict[str, Any]]:
        """The served version of every service that the caller may use."""
        return to_dicts(self._callers.of(request).services())

    def get_service(self, request: Request, name: str) -> dict[str, Any]:
        """One service with its definition and all versions; of views that the caller may not use, only the names."""
        return self._callers.of(request).service(name).to_dict()

    def remove_view(self, request: Request, name: str, dry_run: bool = False) -> dict[str, Any]:
        """Remove a view with all its versions. 409 if something still uses one of them; then nothing is removed."""
        return self._callers.of(request).remove_view(name, dry_run).to_dict()

    def remove_version(self, request: Request, name: str, version: int, dry_run: bool = False) -> dict[str, Any]:
        """Remove an older version of a view with its table and its online rows. 409 if something still uses it."""
        return self._callers.of(request).remove_version(name, version, dry_run).to_dict()

    def remove_service(self, request: Request, name: str, dry_run: bool = False) -> dict[str, Any]:
        """Remove a service with all its versions. Models that were trained with it are kept."""
        return self._callers.of(request).remove_service(name, dry_run).to_dict()

    def find_impact(self, request: Request, table: Name, column: Name | None = None) -> dict[str, Any]:
        """What depends on a table or one of its columns: views with their features, services, training sets, models, predictions."""
        return self._callers.of(request).impact(table, column).to_dict()

    def find_lineage(self, request: Request, name: Name, direction: Direction = "both") -> dict[str, Any]:
        """What a column, a feature, a training set or a model is computed from, and what is computed from it, as a graph."""
        return self._callers.of(request).lineage(name, direction).to_dict()

    async def plan(self, request: Request) -> dict[str, Any]:
        """What applying these definitions would change; nothing is written. 422 lists every problem of every definition.

        403 lists every definition that the caller may not apply, with the privilege that it needs: MANAGE on what changes, READ on what
        that reads, USE on what stays as it is.
        """
        return await run_in_threadpool(_plan, self._callers.of(request), await json_body.read_typed(request, PlanBody))

    async def apply(self, request: Request) -> dict[str, Any]:
        """Register new versions of definitions and create their empty tables, all of them or none. 403 as for a plan."""
        return await run_in_threadpool(_apply, self._callers.of(request), await json_body.read_typed(request, ApplyBody))


def _plan(store: PrincipalStore, body: PlanBody) -> dict[str, Any]:
    return _document(store.plan(objects(body.definitions)))


def _apply(store: PrincipalStore, body: ApplyBody) -> dict[str, Any]:
    definitions = replace(gather(objects(body.definitions)), commit=body.commit)
    if "base" not in body.model_fields_set:
        return _document(store.apply(definitions))
    plan = store.plan(definitions)
    if body.base != _base(plan):
        raise CommitConflict("definitions were applied by someone else since this plan was made; plan again")
    return _document(store.apply(plan))


def objects(body: DefinitionsBody) -> list[Definition]:
    """The definition objects of a validated request body."""
    return documents.definition_objects(body.model_dump(by_alias=True))


def _document(plan: Plan) -> dict[str, Any]:
    return {**plan.to_dict(), "base": _base(plan)}


def _base(plan: Plan) -> str | None:
    return None if plan.base is None else str(plan.base)
