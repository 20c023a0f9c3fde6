"""The interval of a run: the spans of feature_timestamps to compute, from which events, and for which keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from featurestore.compiler.events import Events
from featurestore.compiler.grid import grid_step, longest_window
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
    """feature_timestamps in [lower, upper] are computed from events in [events_lower, events_upper]; microseconds.

    `carry_in`: the table's history begins at lower, so keys with earlier events get a row there. `affected` None: for all keys;
    else for these keys, each from its first change on.
    """

    lower: int
    upper: int
    events_lower: int
    events_upper: int
    carry_in: bool = False
    affected: AffectedKeys | None = None

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
    """The interval of a run up to `upper`; None when the same sources were already materialized that far.

    `start` None: what lies beyond the watermark, and behind it the keys whose events changed since; everything if a column that is
    read has `changed`. Raises: RequestError for a start that would leave a gap in the history.
    """
    if start is not None:
        _refuse_gap(view, held, start, upper)
        begins = held.through is None or (held.since is not None and start <= held.since)
        return Interval((_span(view, start, upper, begins),), start if begins else held.since)
    if held.through is None:
        return _interval(held, [_whole_span(view, held, upper)])
    affected: AffectedKeys | None = None
    if not changed and dict(held.sources) != dict(source.pins):
        changes = reading.source_changes(source, held.sources, events.reads)
        changed = changes.relation is None
        affected = None if changed else find_affected_keys(session, events, changes, held.through)
    if changed or (affected is not None and affected.first == times.FIRST):
        return _interval(held, [_whole_span(view, held, max(upper, held.through))])
    spans: list[Span] = []
    if affected is not None:
        lower = affected.first if held.since is None else max(affected.first, held.since)
        carry_in = held.since is not None and lower <= held.since
        spans.append(_span(view, lower, held.through, carry_in, affected))
    if upper > held.through:
        spans.append(_span(view, held.through + 1, upper, False))
    return _interval(held, spans)


def _interval(held: State, spans: Sequence[Span]) -> Interval | None:
    found = tuple(span for span in spans if span.lower <= span.upper)
    return Interval(found, held.since) if found else None


def _whole_span(view: FeatureView, held: State, upper: int) -> Span:
    """The table's history from its begin on."""
    return _span(view, times.FIRST if held.since is None else held.since, upper, held.since is not None)


def _span(view: FeatureView, lower: int, upper: int, carry_in: bool, affected: AffectedKeys | None = None) -> Span:
    if view.every is None:
        return Span(lower, upper, lower, upper, False, affected)
    reach = max(lower - longest_window(view) - grid_step(view), times.FIRST)
    return Span(lower, upper, times.FIRST if carry_in else reach, upper, carry_in, affected)


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
