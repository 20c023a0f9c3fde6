"""Counts of answered lookups, gathered in the event loop, where changing a metric takes longer than finding a row."""

import asyncio
from collections import Counter, deque
from typing import NamedTuple

from featurestore.pipelines.online_lookup.lookup_json import Counts
from featurestore.server.metrics import Metrics

FLUSH_SECONDS = 0.25
"""How long a lookup may be missing from the metrics of another process."""
MOST_GATHERED = 1000


class _Lookup(NamedTuple):
    service: str
    counts: Counts
    seconds: float


class LookupMetrics:
    """Gathers lookups of one event loop that were answered with status 200, and counts them together a moment later."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        """`route` is the path template of lookups."""
        self._metrics, self._route = metrics, route
        # The metrics are written as text in another thread.
        self._gathered: deque[_Lookup] = deque()
        metrics.before_text(self.flush)

    def add(self, service: str, counts: Counts, seconds: float) -> None:
        """Count a lookup. `counts` are its entities by view and status."""
        gathered = self._gathered
        if not gathered:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        gathered.append(_Lookup(service, counts, seconds))
        if len(gathered) >= MOST_GATHERED:
            self.flush()

    def flush(self) -> None:
        """Count all lookups that were gathered."""
        seconds: dict[str, list[float]] = {}
        entities: dict[str, Counter[tuple[str, str]]] = {}
        while self._gathered:
            lookup = self._gathered.popleft()
            seconds.setdefault(lookup.service, []).append(lookup.seconds)
            counter = entities.setdefault(lookup.service, Counter())
            for label, count in lookup.counts:
                counter[label] += count
        for service, values in seconds.items():
            self._metrics.lookups(service, values)
            self._metrics.count_rows(service, entities[service].items())
            self._metrics.requests("POST", self._route, 200, values)
