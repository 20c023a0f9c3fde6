"""Online lookups in all their forms; those that `fast_lookups` has not answered already."""

from fastapi import Request, Response
from fastapi.routing import APIRoute

from featurestore.pipelines.lookup import OnlineFeatures
from featurestore.server import json_body, responses
from featurestore.server.bounds import Lookups
from featurestore.server.fast_lookups import PATH
from featurestore.server.metrics import Metrics
from featurestore.server.requests import OnlineBody
from featurestore.server.routing import BareRoute, body_of, post, schema_of
from featurestore.store import FeatureStore

READS_IN_LOOP = 600
"""Up to so many reads of an LMDB store, about a millisecond of them, are done in the event loop: a thread hop costs more."""

PARAMETERS = [
    {"name": "service", "in": "path", "required": True, "schema": {"type": "string"}},
    {
        "name": "full",
        "in": "query",
        "schema": {"type": "boolean", "default": True},
        "description": "false leaves out status and timestamps",
    },
]


class Online:
    """Features of entities by their keys."""

    def __init__(self, store: FeatureStore, metrics: Metrics, lookups: Lookups) -> None:
        self._store, self._lookups = store, lookups
        self._metrics = metrics
        self._local = store.settings.online_url().startswith("lmdb://")

    def routes(self) -> list[APIRoute]:
        """What is served."""
        described = {"parameters": PARAMETERS, **body_of(("application/json", schema_of(OnlineBody)))}
        return [
            post(
                PATH,
                self.look_up,
                "online",
                kind=BareRoute,
                responses={200: {"model": responses.OnlineFeatures}},
                openapi_extra=described,
            )
        ]

    async def look_up(self, request: Request) -> Response:
        """The newest features of each entity, in the order of the request: what a training set would hold at this moment."""
        service = request.path_params["service"]
        full = request.query_params.get("full", "true").lower() not in ("false", "0", "no")
        body = await json_body.read(request, OnlineBody)
        plan = self._store.backend.cached_plan(service) if self._local else None
        if plan is not None and not plan.derived and len(body.entities) * len(plan.uses) <= READS_IN_LOOP:
            found = self._store.online_features(plan, body.entities, body.request)
        else:
            found = await self._lookups.run(request, lambda: self._read(service, body))
        counts = [((view, state), states.count(state)) for view, states in found.status.items() for state in set(states)]
        self._metrics.count_lookup(service, counts)
        return Response(found.to_json(full), media_type="application/json")

    def _read(self, service: str, body: OnlineBody) -> OnlineFeatures:
        return self._store.online_features(service, body.entities, body.request)
