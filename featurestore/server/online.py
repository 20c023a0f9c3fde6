"""The route of online lookups, for all requests that `fast_lookups` does not answer itself."""

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
"""Up to this many reads of an LMDB store, about a millisecond, run in the event loop: switching to a thread takes longer."""

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
    """The route that looks up features of entities by their keys."""

    def __init__(self, store: FeatureStore, metrics: Metrics, lookups: Lookups) -> None:
        self._store, self._lookups = store, lookups
        self._metrics = metrics
        self._local = store.settings.online_url().startswith("lmdb://")

    def routes(self) -> list[APIRoute]:
        """The route of online lookups."""
        openapi = {"parameters": PARAMETERS, **body_of(("application/json", schema_of(OnlineBody)))}
        return [
            post(
                PATH,
                self.look_up,
                "online",
                kind=BareRoute,
                responses={200: {"model": responses.OnlineFeatures}},
                openapi_extra=openapi,
            )
        ]

    async def look_up(self, request: Request) -> Response:
        """The newest features of each entity, in the order of the request: the values that a training set has for the current time."""
        service = request.path_params["service"]
        full = request.query_params.get("full", "true").lower() not in ("false", "0", "no")
        body = await json_body.read(request, OnlineBody)
        plan = self._store.backend.cached_plan(service) if self._local else None
        if plan is not None and not plan.derived and len(body.entities) * len(plan.uses) <= READS_IN_LOOP:
            features = self._store.online_features(plan, body.entities, body.request)
        else:
            features = await self._lookups.run(request, lambda: self._read(service, body))
        counts = [((view, state), states.count(state)) for view, states in features.status.items() for state in set(states)]
        self._metrics.count_lookup(service, counts)
        return Response(features.to_json(full), media_type="application/json")

    def _read(self, service: str, body: OnlineBody) -> OnlineFeatures:
        return self._store.online_features(service, body.entities, body.request)
