"""Holding the rows of a run against the checks of their view, before anything is written."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

from featurestore.compiler.chunk_rows import newest_event as newest_event_query
from featurestore.compiler.data_checks import BROKEN_ROWS, CHECKED_ROWS, EXAMPLE, count_violations, violation_conditions
from featurestore.compiler.events import Events
from featurestore.compiler.relations import Handle
from featurestore.dsl.check import Check, Condition, Freshness, NotNull, RowCount
from featurestore.dsl.durations import microseconds
from featurestore.dsl.view import FeatureView
from featurestore.engine.results import single_row
from featurestore.engine.session import Session
from featurestore.errors import CheckFailed, RequestError
from featurestore.records.runtime import Runtime
from featurestore.sources import reading
from featurestore.sources.pinned_source import PinnedSource
from featurestore.values import times

CHECKS = "featurestore.checks"
_UNITS = (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000))


@dataclass(frozen=True)
class Breach:
    """How many rows break a check. `first` is the earliest of them: its feature_timestamp (microseconds) and its keys in words."""

    rows: int = 0
    first: tuple[int, str] | None = None

    def __add__(self, other: "Breach") -> "Breach":
        firsts = [each.first for each in (self, other) if each.first is not None]
        return Breach(self.rows + other.rows, min(firsts, default=None))


@dataclass(frozen=True)
class Tally:
    """What was counted in the rows of a run, or in a part of them: `breaches` by the name of the check, of those of single rows."""

    rows: int = 0
    breaches: Mapping[str, Breach] = field(default_factory=dict)

    def __add__(self, other: "Tally") -> "Tally":
        names = dict.fromkeys([*self.breaches, *other.breaches])
        none = Breach()
        return Tally(self.rows + other.rows, {name: self.breaches.get(name, none) + other.breaches.get(name, none) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Tally":
        """The tally of a JSON-ready form."""
        violation_conditions = {
            name: Breach(one["rows"], tuple(one["first"]) if one["first"] else None) for name, one in found["breaches"].items()
        }
        return cls(found["rows"], violation_conditions)


@dataclass(frozen=True)
class Outcome:
    """What became of one check in one run; `message` says it with figures, also where it passed."""

    name: str
    severity: str
    passed: bool
    message: str

    @property
    def line(self) -> str:
        """The outcome in one line that names the check, once: a condition without a name of its own is called by its SQL."""
        named = any(f" {verb} {self.name}" in self.message for verb in ("break", "breaks"))
        return self.message if named else f"{self.name}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Outcome":
        """The outcome of a JSON-ready form."""
        return cls(found["name"], found["severity"], found["passed"], found["message"])


def tally(session: Session, view: FeatureView, relation: Handle) -> Tally:
    """Count, over the computed rows of a checked view in `relation`, what its checks look at; the tallies of parts add up.

    Raises: RequestError, naming the check, when a condition fails on a row, as a CAST may.
    """
    try:
        return _tally(session, view, relation)
    except RequestError:
        for check in view.checks:
            try:
                _tally(session, replace(view, checks=[check]), relation)
            except RequestError as error:
                said = f"check '{check.name}' cannot be computed for some row; nothing was written. Write it with TRY_CAST or CASE"
                raise RequestError(said, **error.details) from error
        raise


def newest_event(runtime: Runtime, session: Session, view: FeatureView, source: PinnedSource, events: Events, end: int) -> int | None:
    """The time of the source's newest event at or before `end`, as far back as the view's freshness checks look; microseconds.

    None when there is none so new, or when no check asks. Computed rows cannot tell: an aggregate view has rows where
    events leave its windows, and a run may begin after the newest event. SOURCE of the session is another one then.
    """
    reach = [microseconds(check.within) for check in view.checks if isinstance(check, Freshness)]
    if not reach:
        return None
    begin = max(end - max(reach), times.FIRST)
    reading.add_source(runtime, session, source, events.reads, reading.TimeBounds(begin, end))
    session.set({"events_lower": begin, "events_upper": end})
    newest = single_row(session, newest_event_query(events.sql))["newest"]
    return None if newest is None else int(newest)


def judge(view: FeatureView, tally: Tally, newest: int | None, end: int, onward: bool) -> tuple[Outcome, ...]:
    """The outcome of each check of a view, in order. `tally` is of all rows of the run, `newest` of `newest_event`.

    `end` is the end of the run's interval in microseconds. `onward`: the run goes on from the watermark, and may well find nothing.
    """
    return tuple(_outcome(view, check, tally, newest, end, onward) for check in view.checks)


def raise_on_errors(view: FeatureView, outcomes: Sequence[Outcome]) -> None:
    """Raises: CheckFailed with every failed check of severity error; what only warns is left to the caller."""
    failed = [outcome for outcome in outcomes if not outcome.passed and outcome.severity == "error"]
    if not failed:
        return
    count = "1 check failed" if len(failed) == 1 else f"{len(failed)} checks failed"
    lines = "\n".join(f"  {outcome.line}" for outcome in failed)
    advice = "Correct the source and run again. Where the check is too strict, change it, or give it severity='warn', and apply"
    raise CheckFailed(f"{count}; nothing was written:\n{lines}\n{advice}", view=view.name, checks=[outcome.to_dict() for outcome in failed])


def summary(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """As properties of a snapshot's summary; none for a view without checks."""
    return {CHECKS: json.dumps([outcome.to_dict() for outcome in outcomes])} if outcomes else {}


def _tally(session: Session, view: FeatureView, relation: Handle) -> Tally:
    row = single_row(session, count_violations(view, relation))
    found: dict[str, Breach] = {}
    for position in violation_conditions(view):
        example = row[f"{EXAMPLE}_{position}"]
        keys = zip(view.entity.keys, example["keys"], strict=True) if example else ()
        first = (int(example["at"]), ", ".join(f"{key}={value}" for key, value in keys)) if example else None
        found[view.checks[position].name] = Breach(int(row[f"{BROKEN_ROWS}_{position}"]), first)
    return Tally(int(row[CHECKED_ROWS]), found)


def _outcome(view: FeatureView, check: Check, tally: Tally, newest: int | None, end: int, onward: bool) -> Outcome:
    if isinstance(check, RowCount):
        passed, message = _counted(check, tally.rows, onward)
    elif isinstance(check, Freshness):
        passed, message = _aged(check, view.source.name, newest, end)
    else:
        breach = tally.breaches[check.name]
        # As written: the nearest double of 0.07 is a little more, and 7 rows of 100 would not do.
        passed = tally.rows - breach.rows >= Fraction(repr(check.at_least)) * tally.rows
        message = _broken(check, breach, tally.rows)
    return Outcome(check.name, check.severity, passed, message)


def _broken(check: Condition | NotNull, breach: Breach, rows: int) -> str:
    condition = isinstance(check, Condition)
    rule = " ".join(check.sql.split()) if isinstance(check, Condition) else check.feature
    if not rows:
        return "the run computed no row"
    if not breach.rows:
        return f"none of {_rows(rows)} breaks {rule}" if condition else f"none of {_rows(rows)} is without {rule}"
    share = breach.rows / rows
    text = f"{share:.1%}" if share >= 0.001 else "<0.1%"
    verb = ("breaks" if breach.rows == 1 else "break") if condition else ("has no" if breach.rows == 1 else "have no")
    example = f", e.g. {breach.first[1]} at {_time(breach.first[0])}" if breach.first else ""
    allowed = "" if check.at_least == 1 else f"; {check.at_least * 100:g}% must {'hold it' if condition else 'have one'}"
    return f"{breach.rows:,} of {_rows(rows)} ({text}) {verb} {rule}{example}{allowed}"


def _counted(check: RowCount, rows: int, onward: bool) -> tuple[bool, str]:
    if onward and not rows:
        return True, "the run found nothing new to compute"
    limits = [f"at {name} {limit:,}" for name, limit in (("least", check.at_least), ("most", check.at_most)) if limit is not None]
    passed = (check.at_least is None or rows >= check.at_least) and (check.at_most is None or rows <= check.at_most)
    return passed, f"the run computed {_rows(rows)}; expected {' and '.join(limits)}"


def _aged(check: Freshness, source: str, newest: int | None, end: int) -> tuple[bool, str]:
    limit = f"at most {check.within} is allowed"
    if newest is None:
        return False, f"source {source} has no event in the {check.within} before {_time(end)}"
    age = end - newest
    passed = age <= microseconds(check.within)
    return passed, f"the newest event of source {source} was at {_time(newest)}, {_length(age)} before the end of the run; {limit}"


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _time(microseconds_: int) -> str:
    return str(times.text(microseconds_)).replace(".000000Z", "Z")


def _length(duration: int) -> str:
    """A length of time in its two greatest units, such as `2d 3h`; below a second it is `0s`."""
    return " ".join(list(_parts(duration))[:2]) or "0s"


def _parts(duration: int) -> Iterator[str]:
    for unit, size in _UNITS:
        if duration >= size:
            yield f"{duration // size}{unit}"
            duration %= size
