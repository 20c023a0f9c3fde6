"""The interval of a run: from where the table's history must be computed again, and which events that needs."""

from dataclasses import dataclass

from featurestore.compiler.events import compile_events
from featurestore.compiler.grid import grid_step, longest_window
from featurestore.dsl.view import FeatureView
from featurestore.engine.session import Session
from featurestore.errors import RequestError
from featurestore.pipelines import sources, times
from featurestore.pipelines.feature_table import State
from featurestore.pipelines.parts import Parts


@dataclass(frozen=True)
class Interval:
    """feature_timestamps in [lower, upper] are computed from events in [events_lower, events_upper]; microseconds.

    `since` is where the table's history will begin, None when it is whole. `carry_in`: the history begins at lower,
    so keys with earlier events get a row there.
    """

    lower: int
    upper: int
    events_lower: int
    events_upper: int
    since: int | None
    carry_in: bool

    def variables(self) -> dict[str, int | bool]:
        """As the variables that compiled SQL reads."""
        return {name: getattr(self, name) for name in ("lower", "upper", "events_lower", "events_upper", "carry_in")}


def choose(
    parts: Parts, session: Session, view: FeatureView, held: State, pins: sources.Pins, start: int | None, upper: int
) -> Interval | None:
    """What a run up to `upper` must compute; None when the same sources were already materialized that far.

    `start` None means from the watermark, or from the first row that came or changed since. Raises: RequestError for
    a start that would leave a gap in the history.
    """
    if start is None:
        lower = _first_change(parts, session, view, held, pins)
        if lower is None:
            if held.through is not None and upper <= held.through:
                return None
            lower = held.through if held.through is not None else times.FIRST
        if held.since is not None:
            lower = max(lower, held.since)
        since, carry_in = held.since, held.since is not None and lower <= held.since
    else:
        lower = start
        _refuse_gap(view, held, start, upper)
        begins = held.through is None or (held.since is not None and start <= held.since)
        since, carry_in = (start if begins else held.since), begins
    upper = max(upper, held.through) if held.through is not None and start is None and lower < held.through else upper
    if lower > upper:
        return None
    if view.every is None:
        return Interval(lower, upper, lower, upper, since, False)
    reach = max(lower - longest_window(view) - grid_step(view), times.FIRST)
    return Interval(lower, upper, times.FIRST if carry_in else reach, upper, since, carry_in)


def _first_change(parts: Parts, session: Session, view: FeatureView, held: State, pins: sources.Pins) -> int | None:
    """The earliest event time among what changed in the source since the last run; None when nothing did."""
    if held.through is None:
        return times.FIRST
    if dict(held.sources) == dict(pins):
        return None
    sources.add(parts, session, view.source, None)
    events = compile_events(view, list(sources.columns(session)))
    if not sources.add_changes(parts, session, view.source, held.sources, pins, events.reads):
        return times.FIRST
    session.set({"now": times.LAST})
    first = session.batches(events.counts).read_all().to_pylist()[0]["first_time"]
    return held.through if first is None else min(int(first), held.through)


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
