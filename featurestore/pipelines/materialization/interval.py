"""Choose the interval of a run: the spans of feature_timestamps to compute, the events that they need, and the keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from featurestore.compiler.events import Events
from featurestore.compiler.grid import grid_step, has_unbounded_windows, longest_window
from featurestore.compiler.parameters import Bounds
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.pipelines.materialization.affected_keys import AffectedKeys, find_affected_keys
from featurestore.records.feature_table import State
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource
from featurestore.values import times


@dataclass(frozen=True)
class Span:
    """The feature_timestamps in [lower, upper], which are computed from the events in [events_lower, events_upper]; in microseconds.

    `carry_in`: the table's history starts at `lower`, so keys with earlier events get a row there. `affected` are the keys to compute,
    each from its first change on; None for all keys. `history`: the values also depend on all earlier events of their keys.
    """

    lower: int
    upper: int
    events_lower: int
    events_upper: int
    carry_in: bool = False
    affected: AffectedKeys | None = None
    history: bool = False

    @property
    def read_lower(self) -> int:
        """The time from which on events are read."""
        return times.FIRST if self.history else self.events_lower

    @property
    def bounds(self) -> Bounds:
        """The bounds of compiled SQL."""
        return Bounds(self.lower, self.upper, self.read_lower, self.events_upper, self.carry_in)


@dataclass(frozen=True)
class Interval:
    """The spans of a run, ascending and disjoint. `since` is the start of the table's history after the run; None if it is complete."""

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
    state: State,
    source: PinnedSource,
    start: int | None,
    upper: int,
    changed: bool,
) -> Interval | None:
    """The interval of a run up to `upper`; None if the same source snapshots were already materialized up to there.

    Without a `start`, the run computes the time after the watermark and, before it, the keys whose events have changed; all history if
    a column that the view reads has `changed`. Raises: RequestError for bounds that would leave a gap in the history.
    """
    if start is not None:
        _refuse_gap(view, state, start, upper)
        begins = state.through is None or (state.since is not None and start <= state.since)
        return Interval((_span(view, start, upper, begins),), start if begins else state.since)
    if state.through is None:
        return _interval(state, [_whole_span(view, state, upper)])
    affected: AffectedKeys | None = None
    if not changed and dict(state.sources) != dict(source.pins):
        changes = reading.source_changes(source, state.sources, events.reads)
        changed = changes.relation is None
        affected = None if changed else find_affected_keys(session, events, changes, state.through)
    if changed or (affected is not None and affected.first == times.FIRST):
        return _interval(state, [_whole_span(view, state, max(upper, state.through))])
    spans: list[Span] = []
    if affected is not None:
        lower = affected.first if state.since is None else max(affected.first, state.since)
        carry_in = state.since is not None and lower <= state.since
        spans.append(_span(view, lower, state.through, carry_in, affected))
    if upper > state.through:
        spans.append(_span(view, state.through + 1, upper, False))
    return _interval(state, spans)


def _interval(state: State, spans: Sequence[Span]) -> Interval | None:
    not_empty = tuple(span for span in spans if span.lower <= span.upper)
    return Interval(not_empty, state.since) if not_empty else None


def _whole_span(view: FeatureView, state: State, upper: int) -> Span:
    """The span of the table's whole history."""
    return _span(view, times.FIRST if state.since is None else state.since, upper, state.since is not None)


def _span(view: FeatureView, lower: int, upper: int, carry_in: bool, affected: AffectedKeys | None = None) -> Span:
    if view.every is None:
        return Span(lower, upper, lower, upper, False, affected)
    reach = max(lower - longest_window(view) - grid_step(view), times.FIRST)
    return Span(lower, upper, times.FIRST if carry_in else reach, upper, carry_in, affected, has_unbounded_windows(view))


def _refuse_gap(view: FeatureView, state: State, start: int, upper: int) -> None:
    if start > upper:
        raise RequestError(f"start {times.text(start)} is after end {times.text(upper)}; the end cannot be later than the present")
    if state.through is not None and start > state.through:
        through = times.text(state.through)
        raise RequestError(
            f"view {view.name} is materialized through {through}; a later start would leave a gap: start there or leave start out"
        )
    if state.since is not None and upper < state.since:
        since = times.text(state.since)
        raise RequestError(f"view {view.name} is materialized from {since}; an earlier end would leave a gap: end there or later")
