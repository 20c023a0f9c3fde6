"""Probes for liveness and readiness, and the metrics."""

from collections.abc import Callable, Sequence

from fastapi import Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from featurestore.errors import NOT_INSTALLED, FeatureStoreError, NotReady
from featurestore.models.mlflow_access.answers import Answers
from featurestore.models.mlflow_access.health import check_tracking, is_installed
from featurestore.records.health import served_verbs
from featurestore.server import docs
from featurestore.server.access.needs import USE_CATALOG, Needs
from featurestore.server.metrics import Metrics
from featurestore.server.responses.inference import ServerLive, ServerReady
from featurestore.server.routing import get
from featurestore.server.warm_up import WarmUp
from featurestore.store import FeatureStore

LIVE, READY = "/v2/health/live", "/v2/health/ready"
"""The probes of the Open Inference Protocol."""
OPEN_PATHS = ("/healthz", "/readyz", LIVE, READY, "/openapi.json", *docs.PATHS)
"""Paths that need no token: probes have none, and the description of the API is not secret."""
UNRECORDED_PATHS = (*OPEN_PATHS, "/metrics")
"""Paths that the audit log does not record: probes, metrics and the description of the API have nothing of anybody."""
MODEL_SECONDS = 0.5
"""How long a probe waits for the first check of MLflow."""
UNLIMITED_PATHS = ("/healthz", "/readyz", LIVE, READY, "/metrics")
"""Paths that are answered however many requests run."""
_SHOWN_DETAILS = ("lost", "filling")
"""The error details that /readyz shows: tables that the online store has lost, and the progress of filling it."""


class Health:
    """Probes and metrics."""

    def __init__(
        self,
        store: FeatureStore,
        metrics: Metrics,
        warm_up: WarmUp,
        alias_problems: Callable[[], Sequence[object]],
        asks: Callable[[], bool],
    ) -> None:
        """`alias_problems` returns the aliases that do not answer as they should, as texts show them. `asks` is whether the server asks
        for credentials: then probes, which have none, get no names of tables and models.
        """
        self._asks = asks
        self._store, self._warm_up, self._alias_problems = store, warm_up, alias_problems
        self._metrics = metrics
        self._models: Answers[FeatureStoreError | None] = Answers(lambda _: self._check_models(), wait=MODEL_SECONDS, grace=MODEL_SECONDS)

    def routes(self) -> list[APIRoute]:
        """The routes of the probes and the metrics."""
        return [
            get("/healthz", self.healthz, "health", needs=Needs.NOTHING, response_model=dict[str, str]),
            get("/readyz", self.readyz, "health", needs=Needs.NOTHING, response_model=dict[str, str]),
            get(LIVE, self.live, "health", needs=Needs.NOTHING, response_model=ServerLive),
            get(READY, self.ready, "health", needs=Needs.NOTHING, response_model=ServerReady),
            get("/metrics", self.metrics, "health", needs=USE_CATALOG, response_class=Response),
        ]

    async def healthz(self) -> dict[str, str]:
        """Whether the process responds to requests."""
        return {"status": "ok"}

    async def live(self) -> dict[str, bool]:
        """Whether the process responds to requests."""
        return {"live": True}

    def ready(self) -> dict[str, bool]:
        """Whether the server can answer requests; 503 as `/readyz` if it cannot."""
        self.readyz()
        return {"ready": True}

    def readyz(self) -> dict[str, str]:
        """The state of each component that the server depends on, and of each function that it serves.

        503 names the components that are down and that lookups and builds need, or says that services and models are still being loaded. A
        function is `ok`, `down`, `cached only`, which means that it works for the services and models that the process has already
        loaded, or `all but lost tables` while the online store is being filled. Models and predictions are `not installed` without the
        extra. `aliases` names those whose version cannot be loaded, so that the version before answers, and those of a model's traffic that
        were removed in MLflow, so that another one answers. A server that asks for credentials names neither tables nor models here.
        """
        errors: dict[str, FeatureStoreError | None] = {**self._store.check(), "models": self._models_error()}
        states = {component: "ok" if error is None else str(error.details.get("state", "down")) for component, error in errors.items()}
        down = {component for component, state in states.items() if state != "ok"}
        # A store that has lost tables works, and says so; one that evicts keys must not be used.
        lost = bool((error := errors.get("online store")) and error.details.get("lost"))
        serves = served_verbs(down - {"online store"} if lost else down, lost)
        if not is_installed():
            states["models"] = serves["predictions"] = NOT_INSTALLED
        if problems := self._alias_problems():
            states["aliases"] = f"{len(problems)} with problems" if self._asks() else "; ".join(map(str, problems))
        needed = [component for component in errors if component in down and component != "models"]
        if needed:
            shown = () if self._asks() else _SHOWN_DETAILS
            details = {name: error.details[name] for error in errors.values() if error for name in shown if error.details.get(name)}
            raise NotReady(f"{' and '.join(needed)} cannot be used", parts=states, serves=serves, **details)
        if not self._warm_up.is_over():
            raise NotReady("the server is loading services and models; try again in a moment", parts=states, serves=serves)
        return {**states, **serves}

    def _models_error(self) -> FeatureStoreError | None:
        """The error of the last check of MLflow, which is repeated in a thread of its own: a probe does not wait for MLflow."""
        try:
            return self._models.get("tracking")
        except NotReady as error:
            return error

    def _check_models(self) -> FeatureStoreError | None:
        try:
            check_tracking(self._store.settings)
        except FeatureStoreError as error:
            return error
        return None

    def metrics(self) -> Response:
        """All metrics in the Prometheus text format."""
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)
