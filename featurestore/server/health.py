"""Whether the server is alive, whether it can do its work, and what it has been doing."""

from fastapi import Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from featurestore.errors import NOT_INSTALLED, FeatureStoreError, NotReady
from featurestore.models.health import check_tracking, is_installed
from featurestore.records.health import served_verbs
from featurestore.server import docs
from featurestore.server.metrics import Metrics
from featurestore.server.routing import get
from featurestore.store import FeatureStore

OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", *docs.PATHS)
"""These ask for no token: probes have none, and the description of the API is no secret."""
_SHOWN = ("lost", "filling")
"""What is shown of an error's details: tables that the online store has lost, and the progress of filling it."""


class Health:
    """Probes and metrics."""

    def __init__(self, store: FeatureStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def routes(self) -> list[APIRoute]:
        """What is served."""
        return [
            get("/healthz", self.healthz, "health", response_model=dict[str, str]),
            get("/readyz", self.readyz, "health", response_model=dict[str, str]),
            get("/metrics", self.metrics, "health", response_class=Response),
        ]

    async def healthz(self) -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    def readyz(self) -> dict[str, str]:
        """The parts that the server stands on, and what it can serve. 503 names parts that lookups and builds need and that are down.

        A verb is `ok`, `down`, or goes on with `what was loaded before`. Models and predictions are `not installed` without the extra.
        """
        found: dict[str, FeatureStoreError | None] = {**self._store.check(), "models": self._models()}
        states = {part: "ok" if error is None else str(error.details.get("state", "down")) for part, error in found.items()}
        down = {part for part, state in states.items() if state != "ok"}
        serves = served_verbs(down)
        if not is_installed():
            states["models"] = serves["predictions"] = NOT_INSTALLED
        needed = [part for part in found if part in down and part != "models"]
        if needed:
            details = {name: error.details[name] for error in found.values() if error for name in _SHOWN if error.details.get(name)}
            raise NotReady(f"{' and '.join(needed)} cannot be used", parts=states, serves=serves, **details)
        return {**states, **serves}

    def _models(self) -> FeatureStoreError | None:
        try:
            check_tracking(self._store.settings)
        except FeatureStoreError as error:
            return error
        return None

    def metrics(self) -> Response:
        """Prometheus' text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)
