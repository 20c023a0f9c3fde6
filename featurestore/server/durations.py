"""A histogram of seconds that takes many observations at once."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

from prometheus_client import Histogram

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Durations(Histogram):
    """A histogram with buckets of SECONDS."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # The class makes each labeled series of itself, with these options.
        super().__init__(*arguments, **{"buckets": SECONDS, **options})

    def observe_all(self, seconds: Sequence[float]) -> None:
        """Observe each of the values, with one change of each series that they touch."""
        self._sum.inc(sum(seconds))
        for place, count in Counter(bisect_left(self._upper_bounds, value) for value in seconds).items():
            self._buckets[place].inc(count)
