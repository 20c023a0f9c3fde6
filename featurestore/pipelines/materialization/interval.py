"""The interval of a run: the spans of feature_timestamps to compute, from which events, for all keys or those in SCOPE."""

from dataclasses import dataclass

from featurestore.compiler.events import Events
from featurestore.compiler.grid import grid_step, longest_window
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.pipelines.materialization import affected_keys
from featurestore.records.feature_table import State
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource
from featurestore.values import times


@dataclass(frozen=True)
class Span:
    """feature_timestamps in [lower, upper] are computed from events in [events_lower, events_upper]; microseconds.

    `carry_in`: the table's history begins at lower, so keys with earlier events get a row there. `scoped`: only for
    the keys in SCOPE, each from its own time on.
    """

    lower: int
    upper: int
    events_lower: int
    events_upper: int
    carry_in: bool = False
    scoped: bool = False

    def variables(self) -> dict[str, int | bool]:
        """As the variables that compiled SQL reads."""
        return {name: getattr(self, name) for name in ("lower", "upper", "events_lower", "events_upper", "carry_in")}


@dataclass(frozen=True)
class Interval:
    """The spans of a run, in time's order and apart; the table's history will begin at `since`, None when it is whole."""

    spans: tuple[Span, ...]
    since: int | None

    @property
    def lower(self) -> int:
        """The first feature_timestamp that is computed."""
        return self.spans[0].lower

    @property
    def upper(self) -> int:
        """The last feature_timestamp that is computed."""
        return self.spans[-1].upper


def choose(
    session: Session,
    view: FeatureView,
    events: Events,
    held: State,
    source: PinnedSource,
    start: int | None,
    upper: int,
    changed: bool,
) -> Interval | None:
    """What a run up to `upper` must compute; None when the same sources were already materialized that far.

    `start` None means what lies beyond the watermark, and behind it what came or changed since, which is then recorded
    in SCOPE; all where columns that are read have `changed`. Raises: RequestError for a start that would leave a gap in the history.
    """
    if start is not None:
        _refuse_gap(view, held, start, upper)
        begins = held.through is None or (held.since is not None and start <= held.since)
        return Interval((_span(view, start, upper, begins),), start if begins else held.since)
    spans: list[Span] = []
    first = times.FIRST if changed and held.through is not None else _first_change(session, view, events, held, source)
    if held.through is None or first == times.FIRST:
        lower = times.FIRST if held.since is None else held.since
        spans.append(_span(view, lower, max(upper, held.through or upper), held.since is not None))
    else:
        if first is not None:
            lower = first if held.since is None else max(first, held.since)
            carry_in = held.since is not None and lower <= held.since
            spans.append(_span(view, lower, held.through, carry_in, scoped=True))
        if upper > held.through:
            spans.append(_span(view, held.through + 1, upper, False))
    spans = [span for span in spans if span.lower <= span.upper]
    return Interval(tuple(spans), held.since) if spans else None


def _span(view: FeatureView, lower: int, upper: int, carry_in: bool, scoped: bool = False) -> Span:
    if view.every is None:
        return Span(lower, upper, lower, upper, False, scoped)
    reach = max(lower - longest_window(view) - grid_step(view), times.FIRST)
    return Span(lower, upper, times.FIRST if carry_in else reach, upper, carry_in, scoped)


def _first_change(session: Session, view: FeatureView, events: Events, held: State, source: PinnedSource) -> int | None:
    """The earliest event time at or behind the watermark of what changed in the source; None when nothing did there.

    The first time there is when only computing everything can tell.
    """
    if held.through is None or dict(held.sources) == dict(source.pins):
        return None
    changes = reading.source_changes(source, held.sources, events.reads)
    return times.FIRST if changes.relation is None else affected_keys.record(session, view, events, changes, held.through)


def _refuse_gap(view: FeatureView, held: State, start: int, upper: int) -> None:
    if start > upper:
        raise RequestError(f"start {times.text(start)} is after end {times.text(upper)}; the end cannot be later than the present")
    if held.through is not None and start > held.through:
        through = times.text(held.through)
        raise RequestError(
            f"view {view.name} is materialized through {through}; a later start would leave a gap: start there or leave start out"
        )
    if held.since is not None and upper < held.since:
        since = times.text(held.since)
        raise RequestError(f"view {view.name} is materialized from {since}; an earlier end would leave a gap: end there or later")
