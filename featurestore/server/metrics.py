"""Prometheus metrics: requests and their durations, and the results of lookups."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.server.durations import Durations
from featurestore.server.gauges import Freshness, OnlineSize
from featurestore.server.model_gauges import ModelGauges
from featurestore.store import FeatureStore

CLIENT_DISCONNECTED = 499
"""The status counted for a request whose client disconnected before the response; it is never sent."""
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that makes prometheus-client keep counters in files, so that each server process can report all of them."""


class Metrics:
    """The metrics of one application."""

    def __init__(self, store: FeatureStore) -> None:
        self._registry = CollectorRegistry()
        self.models = ModelGauges()
        self._gauges = (Freshness(store), OnlineSize(store), self.models)
        labels = ("method", "route", "status")
        self._requests = Counter("featurestore_requests", "HTTP requests", labels, registry=self._registry)
        self._seconds = Durations(
            "featurestore_request_seconds", "Seconds from request to response", ("method", "route"), registry=self._registry
        )
        self._rows = Counter(
            "featurestore_online_rows",
            "Entities looked up online, by status",
            ("service", "view", "status"),
            registry=self._registry,
        )

        self._lookup_seconds = Durations(
            "featurestore_online_seconds", "Seconds of the lookups that were answered, by service", ("service",), registry=self._registry
        )

        self._logged = Counter(
            "featurestore_predictions_logged", "Rows of predictions for the log, by what happened", ("outcome",), registry=self._registry
        )

        self._shadow = Counter(
            "featurestore_shadow_rows",
            "Rows to be scored by shadows and never returned, by what happened",
            ("model", "outcome"),
            registry=self._registry,
        )

        # Cached, because looking up a series by its labels takes longer than counting.
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Durations]] = {}
        self._by_entities: dict[tuple[str, str, str], Counter] = {}
        self._by_service: dict[str, Durations] = {}
        self._by_outcome: dict[str, Counter] = {}
        self._before_text: list[Callable[[], None]] = []

    def before_text(self, flush: Callable[[], None]) -> None:
        """Call a function, which counts what it has gathered, before the metrics are written as text."""
        self._before_text.append(flush)

    def requests(self, method: str, route: str, status: int, seconds: Sequence[float]) -> None:
        """Count and time requests. `route` is the path template, so that each name in a path does not create a new series."""
        key = (method, route, status)
        series = self._by_request.get(key)
        if series is None:
            series = self._by_request[key] = self._requests.labels(*key), self._seconds.labels(method, route)
        series[0].inc(len(seconds))
        series[1].observe_all(seconds)

    def lookups(self, service: str, seconds: Sequence[float]) -> None:
        """Time answered lookups. There is such a service, so that its name may be a label."""
        series = self._by_service.get(service)
        if series is None:
            series = self._by_service[service] = self._lookup_seconds.labels(service)
        series.observe_all(seconds)

    def count_rows(self, service: str, counts: Iterable[tuple[tuple[str, str], int]]) -> None:
        """Count the entities that were looked up: pairs of (view, status) and a number, with statuses such as PRESENT."""
        for (view, status), count in counts:
            key = (service, view, status)
            series = self._by_entities.get(key)
            if series is None:
                series = self._by_entities[key] = self._rows.labels(*key)
            series.inc(count)

    def count_logged(self, outcome: str, rows: int) -> None:
        """Count rows for the prediction log: those that were spooled, those that were dropped, and those that are in their table."""
        if rows:
            series = self._by_outcome.get(outcome)
            if series is None:
                series = self._by_outcome[outcome] = self._logged.labels(outcome)
            series.inc(rows)

    def count_shadow(self, model: str, outcome: str, rows: int) -> None:
        """Count rows that shadows scored, failed to score, or dropped. The model has a split, so that its name may be a label."""
        self._shadow.labels(model, outcome).inc(rows)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format, of all server processes if there are several."""
        for flush in self._before_text:
            flush()
        registry = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        gauges = CollectorRegistry()
        for collector in self._gauges:
            gauges.register(collector)
        return generate_latest(registry) + generate_latest(gauges)


class MetricsMiddleware:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_DISCONNECTED
        started = time.perf_counter()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except BaseException:
            status = 500
            raise
        finally:
            route: Any = scope.get("route")
            path = getattr(route, "path", "unmatched")
            self._metrics.requests(scope["method"], path, status, [time.perf_counter() - started])
