"""Cut a span whose rows do not fit in memory by time: a window of the later half reads the events that lie in its reach."""

from collections.abc import Sequence
from dataclasses import replace

from featurestore.compiler.events import DAY
from featurestore.compiler.grid import grid_step, longest_window
from featurestore.dsl.view import FeatureView
from featurestore.pipelines.materialization.interval import Span
from featurestore.values import times

LEAST = 4
"""A half is no shorter than the longest window divided by this: it would hardly read fewer events."""


def halve(view: FeatureView, span: Span, days: Sequence[int]) -> list[Span]:
    """The earlier and the later half of a span of an aggregate view with events on these days since 1970.

    Empty if it cannot be cut: its values depend on all earlier events, or the halves would be too short.
    """
    if view.every is None or span.history or not days:
        return []
    reach = longest_window(view) + grid_step(view)
    first = max(span.lower, min(days) * DAY)
    last = min(span.upper, (max(days) + 1) * DAY + reach)
    if last - first < 2 * max(grid_step(view), longest_window(view) // LEAST, 1):
        return []
    middle = (first + last) // 2
    earlier = replace(span, upper=middle, events_upper=middle)
    later = replace(span, lower=middle + 1, events_lower=max(middle + 1 - reach, times.FIRST), carry_in=False)
    return [earlier, later]
