"""Metrics of models that are read at each scrape: aliases whose version cannot be loaded, and predictions that wait to be logged."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from featurestore.models.prediction_log.spool import Backlog
from featurestore.values import times

if TYPE_CHECKING:
    from featurestore.models.serving.alias_swap import Behind


class ModelGauges(Collector):
    """What a server process knows of its models; all processes of a server share what waits to be logged."""

    def __init__(self) -> None:
        self._behind: Callable[[], Sequence[Behind]] = tuple
        self._backlog: Callable[[], Sequence[Backlog]] = tuple

    def read_from(self, behind: "Callable[[], Sequence[Behind]]", backlog: Callable[[], Sequence[Backlog]]) -> None:
        """Read the aliases whose version cannot be loaded, and the predictions that wait, from these functions."""
        self._behind, self._backlog = behind, backlog

    def describe(self) -> Iterable[Metric]:
        """No metrics, so that registering the collector reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The numbers of aliases and rows, and the age of the oldest request that waits."""
        text = "Aliases whose version cannot be loaded, so that the version before answers"
        yield GaugeMetricFamily("featurestore_model_aliases_behind", text, value=len(self._behind()))
        backlog = self._backlog()
        oldest = min((table.oldest for table in backlog), default=None)
        rows = sum(table.rows for table in backlog)
        yield GaugeMetricFamily("featurestore_predictions_waiting_rows", "Rows of predictions that wait to be logged", value=rows)
        age = 0.0 if oldest is None else max(0.0, (times.now() - oldest) / 1e6)
        yield GaugeMetricFamily("featurestore_predictions_waiting_seconds", "Seconds that the oldest of them has waited", value=age)
