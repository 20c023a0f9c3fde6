"""Whether the server is alive, whether it can do its work, and what it has been doing."""

from fastapi import Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from featurestore.errors import NotReady
from featurestore.server import docs
from featurestore.server.metrics import Metrics
from featurestore.server.routing import get
from featurestore.store import FeatureStore

OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", *docs.PATHS)
"""These ask for no token: probes have none, and the description of the API is no secret."""


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
        """The catalog and the online store can be reached; 503 says which cannot."""
        found = self._store.check()
        down = [part for part, error in found.items() if error is not None]
        if down:
            raise NotReady(f"{' and '.join(down)} cannot be reached", parts={part: "down" if part in down else "ok" for part in found})
        return dict.fromkeys(found, "ok")

    def metrics(self) -> Response:
        """Prometheus' text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)
