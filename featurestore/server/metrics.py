"""Prometheus metrics: what was asked and how long it took, what the lookups found, and how fresh each view is."""

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
LEFT = 499
"""The status of a request whose client left before it was answered; nobody was sent it."""
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that makes prometheus-client keep counters in files, so that any of several server processes can tell all."""


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
            "Entities looked up online, by what was found",
            ("service", "view", "status"),
            registry=self._registry,
        )

        # Kept here, since to look up a series by its labels takes longer than to count.
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._by_lookup: dict[tuple[str, str, str], Counter] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is the path as declared, so that names in paths do not make new series."""
        key = (method, route, status)
        series = self._by_request.get(key)
        if series is None:
            series = self._by_request[key] = self._requests.labels(*key), self._seconds.labels(method, route)
        series[0].inc()
        series[1].observe(seconds)

    def count_lookup(self, service: str, counts: Iterable[tuple[tuple[str, str], int]]) -> None:
        """Count the entities of a lookup, given as (view, status) and their number; PRESENT, NOT_FOUND, EXPIRED or STALE."""
        for (view, status), count in counts:
            key = (service, view, status)
            series = self._by_lookup.get(key)
            if series is None:
                series = self._by_lookup[key] = self._rows.labels(*key)
            series.inc(count)

    def text(self) -> bytes:
        """Everything in Prometheus' text format; with several server processes, of all of them."""
        registry = self._registry
        if SHARED_FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        freshness = CollectorRegistry()
        freshness.register(self._freshness)
        return generate_latest(registry) + generate_latest(freshness)


AGES = (
    ("run_age", "materialized_at", "Now less the last run of the view that changed anything or moved its watermark"),
    ("watermark_age", "materialized_through", "Now less the view's watermark: up to when events would have been seen"),
    (
        "freshness",
        "newest_event",
        "Now less the newest event of the view's source: grows where a source has died, however often runs go over it",
    ),
)
"""Metrics by view: name, what of a view is so old, help."""


PATIENCE_SECONDS = 0.5
"""How long a scrape waits for the catalog, if it was read before."""


class Freshness(Collector):
    """Reads from the catalog, whenever it is scraped, how old what is known of each view is; as it was the last time
    where that takes long.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._last: list[ViewInfo] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: registering must not read the catalog."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Seconds since each view's last run, watermark and newest event, and whether the catalog could be read."""
        up = GaugeMetricFamily("featurestore_catalog_up", "Whether the catalog could be read")
        ages = {
            field: GaugeMetricFamily(f"featurestore_view_{name}_seconds", text, labels=["view", "version"]) for name, field, text in AGES
        }
        views = self._views()
        up.add_metric([], views is not None)
        for view in views or []:
            for field, age in ages.items():
                moment: datetime | None = getattr(view, field)
                if moment is not None:
                    age.add_metric([view.name, str(view.version)], (datetime.now(UTC) - moment).total_seconds())
        yield up
        yield from ages.values()

    def _views(self) -> list[ViewInfo] | None:
        """The views; None where the catalog could not be read."""
        with self._lock:
            first = self._reading is None
            if self._reading is None or not self._reading.is_alive():
                self._reading = threading.Thread(target=self._read, name="freshness", daemon=True)
                self._reading.start()
            reading = self._reading
        reading.join(None if first else PATIENCE_SECONDS)
        return self._last

    def _read(self) -> None:
        try:
            self._last = self._store.views()
        except FeatureStoreError as error:
            log.warning("the catalog cannot be read for metrics: %s", error)
            self._last = None


class Observed:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = LEFT
        began = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except BaseException:
            status = 500
            raise
        finally:
            route: Any = scope.get("route")
            path = getattr(route, "path", "unmatched")
            self._metrics.request(scope["method"], path, status, time.perf_counter() - began)
