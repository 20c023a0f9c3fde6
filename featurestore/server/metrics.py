"""Prometheus metrics: requests and their durations, the results of lookups, and the freshness of each view."""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.records.listings import ViewInfo
from featurestore.store import FeatureStore

log = logger_of(__name__)

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CLIENT_DISCONNECTED = 499
"""The status counted for a request whose client disconnected before the response; it is never sent."""
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that makes prometheus-client keep counters in files, so that each server process can report all of them."""


class Metrics:
    """The metrics of one application."""

    def __init__(self, store: FeatureStore) -> None:
        self._registry = CollectorRegistry()
        self._freshness = Freshness(store)
        labels = ("method", "route", "status")
        self._requests = Counter("featurestore_requests", "HTTP requests", labels, registry=self._registry)
        self._seconds = Histogram(
            "featurestore_request_seconds",
            "Seconds from request to response",
            ("method", "route"),
            registry=self._registry,
            buckets=SECONDS,
        )
        self._rows = Counter(
            "featurestore_online_rows",
            "Entities looked up online, by status",
            ("service", "view", "status"),
            registry=self._registry,
        )

        # Cached, because looking up a series by its labels takes longer than counting.
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._by_lookup: dict[tuple[str, str, str], Counter] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is the path template, so that each name in a path does not create a new series."""
        key = (method, route, status)
        series = self._by_request.get(key)
        if series is None:
            series = self._by_request[key] = self._requests.labels(*key), self._seconds.labels(method, route)
        series[0].inc()
        series[1].observe(seconds)

    def count_lookup(self, service: str, counts: Iterable[tuple[tuple[str, str], int]]) -> None:
        """Count the entities of a lookup. `counts` has pairs of (view, status) and a number, with statuses such as PRESENT."""
        for (view, status), count in counts:
            key = (service, view, status)
            series = self._by_lookup.get(key)
            if series is None:
                series = self._by_lookup[key] = self._rows.labels(*key)
            series.inc(count)

    def text(self) -> bytes:
        """All metrics in the Prometheus text format, of all server processes if there are several."""
        registry = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        freshness = CollectorRegistry()
        freshness.register(self._freshness)
        return generate_latest(registry) + generate_latest(freshness)


AGES = (
    ("run_age", "materialized_at", "Seconds since the last run of the view that appended rows or moved its watermark"),
    ("watermark_age", "materialized_through", "Seconds since the view's watermark, up to which its source was read"),
    (
        "freshness",
        "newest_event",
        "Seconds since the newest event of the view's source; grows if the source gets no new rows, even if the view is materialized",
    ),
)
"""The metrics by view: name, field of ViewInfo, help."""

READ_WAIT_SECONDS = 0.5
"""How long a scrape waits for the catalog, once it has been read."""


class Freshness(Collector):
    """Reads the views from the catalog at every scrape. If that takes long, the result of the previous read is used."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._last: list[ViewInfo] | None = None

    def describe(self) -> Iterable[Metric]:
        """No metrics, so that registering the collector does not read the catalog."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The ages of each view's last run, watermark and newest event, and whether the catalog could be read."""
        up = GaugeMetricFamily("featurestore_catalog_up", "Whether the catalog could be read")
        ages = {
            field: GaugeMetricFamily(f"featurestore_view_{name}_seconds", text, labels=["view", "version"]) for name, field, text in AGES
        }
        views = self._read_views()
        up.add_metric([], views is not None)
        for view in views or []:
            for field, age in ages.items():
                moment: datetime | None = getattr(view, field)
                if moment is not None:
                    age.add_metric([view.name, str(view.version)], (datetime.now(UTC) - moment).total_seconds())
        yield up
        yield from ages.values()

    def _read_views(self) -> list[ViewInfo] | None:
        """The views; None if the catalog could not be read."""
        with self._lock:
            first = self._reading is None
            if self._reading is None or not self._reading.is_alive():
                self._reading = threading.Thread(target=self._read, name="freshness", daemon=True)
                self._reading.start()
            reading = self._reading
        reading.join(None if first else READ_WAIT_SECONDS)
        return self._last

    def _read(self) -> None:
        try:
            self._last = self._store.views()
        except FeatureStoreError as error:
            log.warning("the catalog cannot be read for the metrics: %s", error)
            self._last = None


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
            self._metrics.request(scope["method"], path, status, time.perf_counter() - started)
