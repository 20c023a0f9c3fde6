"""Metrics that are read at each scrape: the freshness of each view, and what the online store holds."""

import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Generic, TypeVar

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from featurestore.errors import FeatureStoreError
from featurestore.masking import logger_of
from featurestore.online.store import StoreSize
from featurestore.records.listings import ViewInfo
from featurestore.store import FeatureStore
from featurestore.values import times

logger = logger_of(__name__)

T = TypeVar("T")

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


class LatestRead(Generic[T]):
    """What a function reads, newly at each call. If that takes long, the result of the previous read is used."""

    def __init__(self, read: Callable[[], T], what: str) -> None:
        """`what` names what is read, for the log."""
        self._function, self._what = read, what
        self._lock = threading.Lock()
        self._reading: threading.Thread | None = None
        self._last: T | None = None

    def get(self) -> T | None:
        """The result; None if it could not be read."""
        with self._lock:
            first = self._reading is None
            if self._reading is None or not self._reading.is_alive():
                self._reading = threading.Thread(target=self._read, name=f"metrics of the {self._what}", daemon=True)
                self._reading.start()
            reading = self._reading
        reading.join(None if first else READ_WAIT_SECONDS)
        return self._last

    def _read(self) -> None:
        try:
            self._last = self._function()
        except FeatureStoreError as error:
            logger.warning("the %s cannot be read for the metrics: %s", self._what, error)
            self._last = None


class Freshness(Collector):
    """The ages of each view, from the catalog."""

    def __init__(self, store: FeatureStore) -> None:
        self._views: LatestRead[list[ViewInfo]] = LatestRead(store.views, "catalog")

    def describe(self) -> Iterable[Metric]:
        """No metrics, so that registering the collector does not read the catalog."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The ages of each view's last run, watermark and newest event, and whether the catalog could be read."""
        up = GaugeMetricFamily("featurestore_catalog_up", "Whether the catalog could be read")
        ages = {
            field: GaugeMetricFamily(f"featurestore_view_{name}_seconds", text, labels=["view", "version"]) for name, field, text in AGES
        }
        views = self._views.get()
        up.add_metric([], views is not None)
        for view in views or []:
            for field, age in ages.items():
                moment: datetime | None = getattr(view, field)
                if moment is not None:
                    age.add_metric([view.name, str(view.version)], (datetime.now(UTC) - moment).total_seconds())
        yield up
        yield from ages.values()


class OnlineSize(Collector):
    """What the online store holds: rows of the newest version of each view, bytes, and the age of the newest edition."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._size: LatestRead[StoreSize] = LatestRead(self._read, "online store")

    def describe(self) -> Iterable[Metric]:
        """No metrics, so that registering the collector does not read the online store."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Rows by feature table, bytes, the age of the edition, and whether the store could be read."""
        up = GaugeMetricFamily("featurestore_online_up", "Whether the online store could be read")
        rows = GaugeMetricFamily("featurestore_online_store_rows", "Rows of a feature table in the online store", labels=["table"])
        size = GaugeMetricFamily("featurestore_online_store_bytes", "Bytes of the LMDB file in use, or memory of the Redis servers")
        age = GaugeMetricFamily("featurestore_online_edition_age_seconds", "Seconds since rows or watermarks were last published")
        store_size = self._size.get()
        up.add_metric([], store_size is not None)
        if store_size is not None:
            for table, count in store_size.rows.items():
                if count is not None:
                    rows.add_metric([table], count)
            if store_size.bytes is not None:
                size.add_metric([], store_size.bytes)
            if store_size.edition is not None:
                age.add_metric([], max(0.0, (times.now() - store_size.edition) / 1e6))
        yield from (up, rows, size, age)

    def _read(self) -> StoreSize:
        tables = [view.table.rpartition(".")[2] for view in self._store.views()]
        return self._store.backend.runtime.online.size(tables)
