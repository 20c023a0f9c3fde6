"""The route of online lookups, for all requests that `fast_lookups` does not answer itself."""

import time
from functools import partial

from fastapi import Request, Response
from fastapi.routing import APIRoute

from featurestore.compiler.service_plan import ServicePlan
from featurestore.pipelines.online_lookup.lookup_json import Answer, count_statuses
from featurestore.server import json_body, responses
from featurestore.server.access.access import rights_of
from featurestore.server.bounds import Lookups, check_entities
from featurestore.server.fast_lookups import NEEDS, PATH
from featurestore.server.media_types import ARROW, JSON, prefers_arrow
from featurestore.server.metrics import Metrics
from featurestore.server.requests import OnlineBody
from featurestore.server.routing import BareRoute, BodySchema, body_of, post
from featurestore.store import FeatureStore, read_as

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
        self._metrics, self._entities_limit = metrics, store.settings.entities_limit
        self._local = store.settings.online_url().startswith("lmdb://")

    def routes(self) -> list[APIRoute]:
        """The route of online lookups."""
        openapi = {"parameters": PARAMETERS, **body_of((JSON, BodySchema(OnlineBody)))}
        arrow = {"schema": {"type": "string", "format": "binary"}}
        answer = {"model": responses.OnlineFeatures, "content": {ARROW: arrow}}
        return [post(PATH, self.look_up, "online", needs=NEEDS, kind=BareRoute, responses={200: answer}, openapi_extra=openapi)]

    async def look_up(self, request: Request) -> Response:
        """The newest features of each entity, in the order of the request: the values that a training set has for the current time.

        With `Accept: application/vnd.apache.arrow.stream`, an Arrow stream: a column for each feature with its type; unless `full` is
        false, `__fs_status.<view>` and `__fs_timestamp.<view>`; and in the schema's metadata, under `featurestore`, the rest of the JSON
        body. Entity keys are not repeated in either form.
        """
        service = request.path_params["service"]
        full = request.query_params.get("full", "true").lower() not in ("false", "0", "no")
        arrow = prefers_arrow(request.headers.get("accept", ""))
        began = time.perf_counter()
        body = await json_body.read(request, OnlineBody)
        check_entities(len(body.entities), self._entities_limit)
        rights = rights_of(request.scope)
        store, plan = self._store, self._store.backend.cached_plan(service) if self._local else None
        if not rights.is_unlimited and (plan is None or rights.policies_of_tables(self._tables(plan))):
            # The columns that policies are on may have to be read from the catalog, which is not for the event loop.
            store, plan = read_as(self._store, rights), None
        if plan is not None and not plan.derived and len(body.entities) * len(plan.uses) <= READS_IN_LOOP:
            answer = _answer(store, plan, body, full, arrow)
        else:
            answer = await self._lookups.run(request, partial(_answer, store, service, body, full, arrow))
        self._metrics.lookups(service, [time.perf_counter() - began])
        self._metrics.count_rows(service, answer.counts)
        return Response(answer.content, media_type=ARROW if arrow else JSON)

    def _tables(self, plan: ServicePlan) -> tuple[str, ...]:
        runtime = self._store.backend.runtime
        return tuple([runtime.features_table(use.table) for use in plan.uses])


def _answer(store: FeatureStore, service: str | ServicePlan, body: OnlineBody, full: bool, arrow: bool) -> Answer:
    features = store.online_features(service, body.entities, body.request)
    return Answer(features.to_arrow_stream(full) if arrow else features.to_json(full), count_statuses(features.status))
