"""Apply a view's data checks to the computed rows of a run, before anything is committed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

from featurestore.compiler.chunk_rows import newest_event
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
    """The number of rows that violate a check, and the first of them: its feature_timestamp (microseconds) and its keys as text."""

    rows: int = 0
    first: tuple[int, str] | None = None

    def __add__(self, other: "Breach") -> "Breach":
        firsts = [each.first for each in (self, other) if each.first is not None]
        return Breach(self.rows + other.rows, min(firsts, default=None))


@dataclass(frozen=True)
class Tally:
    """Counts of the rows of a run, or of a part of them: all rows, and the breaches of each check on single rows, by its name."""

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
    def from_dict(cls, data: Mapping[str, Any]) -> "Tally":
        """The tally of a JSON-ready form."""
        breaches = {
            name: Breach(breach["rows"], tuple(breach["first"]) if breach["first"] else None) for name, breach in data["breaches"].items()
        }
        return cls(data["rows"], breaches)


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check in one run; `message` has the figures, whether it passed or not, and the keys of a row that broke it.

    `recorded` is the message without that row; None: it has none.
    """

    name: str
    severity: str
    passed: bool
    message: str
    recorded: str | None = field(default=None, compare=False)

    @property
    def line(self) -> str:
        """The outcome in one line that names the check once: the name of an unnamed condition is its SQL, which the message has too."""
        named = any(f" {verb} {self.name}" in self.message for verb in ("break", "breaks"))
        return self.message if named else f"{self.name}: {self.message}"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form, with the message."""
        return {"name": self.name, "severity": self.severity, "passed": self.passed, "message": self.message}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Outcome":
        """The outcome of a JSON-ready form."""
        return cls(data["name"], data["severity"], data["passed"], data["message"])


def tally(session: Session, view: FeatureView, relation: Handle) -> Tally:
    """Count the violations of a view's checks among its computed rows in `relation`. Tallies of parts of the rows can be added.

    Raises: RequestError naming the check if its condition cannot be computed for a row, such as a failing CAST.
    """
    try:
        return _count_breaches(session, view, relation)
    except RequestError:
        for check in view.checks:
            try:
                _count_breaches(session, replace(view, checks=[check]), relation)
            except RequestError as error:
                message = f"check '{check.name}' cannot be computed for some row; nothing was written. Write it with TRY_CAST or CASE"
                raise RequestError(message, **error.details) from error
        raise


def first_read(view: FeatureView, end: int) -> int:
    """From when the freshness checks of a view read events up to `end`, in microseconds; LAST if it has none."""
    reach = [microseconds(check.within) for check in view.checks if isinstance(check, Freshness)]
    return max(end - max(reach), times.FIRST) if reach else times.LAST


def find_newest_event(runtime: Runtime, session: Session, view: FeatureView, source: PinnedSource, events: Events, end: int) -> int | None:
    """The time of the source's newest event at or before `end`, within the range of the view's freshness checks; in microseconds.

    None without freshness checks, or without such an event. It is read from the source, since the computed rows do not show it: an
    aggregate view also has rows at times when events leave its windows, and a run may start after the newest event. Replaces the
    source's rows in the session.
    """
    begin = first_read(view, end)
    if begin > end:
        return None
    raw = reading.add_source(runtime, session, source, events.reads, reading.TimeBounds(begin, end)).relation
    newest = single_row(session, newest_event(events.rows(raw, begin, end)))["newest"]
    return None if newest is None else int(newest)


def judge(view: FeatureView, tally: Tally, newest: int | None, end: int, continues: bool, withhold: bool = False) -> tuple[Outcome, ...]:
    """The outcome of each check of a view, in order, from the tally of all rows of a run and the result of `find_newest_event`.

    `end` is the end of the run's interval in microseconds. `continues`: the run starts at the watermark, where it is normal that there
    are no new rows. `withhold`: outcomes name no row, since a policy may hide it.
    """
    if withhold:
        tally = replace(tally, breaches={name: replace(breach, first=None) for name, breach in tally.breaches.items()})
    return tuple(_judge(view, check, tally, newest, end, continues) for check in view.checks)


def raise_on_errors(view: FeatureView, outcomes: Sequence[Outcome]) -> None:
    """Raises: CheckFailed with every failed check of severity error; warnings are left to the caller."""
    failed = [outcome for outcome in outcomes if not outcome.passed and outcome.severity == "error"]
    if not failed:
        return
    count = "1 check failed" if len(failed) == 1 else f"{len(failed)} checks failed"
    lines = "\n".join(f"  {outcome.line}" for outcome in failed)
    advice = "Correct the source and run again. Where the check is too strict, change it, or give it severity='warn', and apply"
    raise CheckFailed(f"{count}; nothing was written:\n{lines}\n{advice}", view=view.name, checks=[outcome.to_dict() for outcome in failed])


def summary(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The outcomes as properties of a snapshot's summary; empty for a view without checks.

    They name no row: whoever loads the table reads its summaries, and an erasure removes rows and not words.
    """
    recorded = [{**outcome.to_dict(), "message": outcome.recorded or outcome.message} for outcome in outcomes]
    return {CHECKS: json.dumps(recorded)} if outcomes else {}


def _count_breaches(session: Session, view: FeatureView, relation: Handle) -> Tally:
    row = single_row(session, count_violations(view, relation))
    breaches: dict[str, Breach] = {}
    for position in violation_conditions(view):
        example = row[f"{EXAMPLE}_{position}"]
        keys = zip(view.entity.keys, example["keys"], strict=True) if example else ()
        first = (int(example["at"]), ", ".join(f"{key}={value}" for key, value in keys)) if example else None
        breaches[view.checks[position].name] = Breach(int(row[f"{BROKEN_ROWS}_{position}"]), first)
    return Tally(int(row[CHECKED_ROWS]), breaches)


def _judge(view: FeatureView, check: Check, tally: Tally, newest: int | None, end: int, continues: bool) -> Outcome:
    if isinstance(check, RowCount):
        passed, message = _judge_row_count(check, tally.rows, continues)
    elif isinstance(check, Freshness):
        passed, message = _judge_freshness(check, view.source.name, newest, end)
    else:
        breach = tally.breaches[check.name]
        # Exact, as the number was written: the double nearest to 0.07 is greater than 0.07, so 7 rows of 100 would not be enough.
        passed = tally.rows - breach.rows >= Fraction(repr(check.at_least)) * tally.rows
        recorded = _describe_breach(check, replace(breach, first=None), tally.rows)
        return Outcome(check.name, check.severity, passed, _describe_breach(check, breach, tally.rows), recorded)
    return Outcome(check.name, check.severity, passed, message)


def _describe_breach(check: Condition | NotNull, breach: Breach, rows: int) -> str:
    condition = isinstance(check, Condition)
    rule = " ".join(check.sql.split()) if isinstance(check, Condition) else check.feature
    if not rows:
        return "the run computed no row"
    if not breach.rows:
        return f"none of {_format_rows(rows)} breaks {rule}" if condition else f"none of {_format_rows(rows)} is without {rule}"
    share = breach.rows / rows
    text = f"{share:.1%}" if share >= 0.001 else "<0.1%"
    verb = ("breaks" if breach.rows == 1 else "break") if condition else ("has no" if breach.rows == 1 else "have no")
    example = f", e.g. {breach.first[1]} at {_format_time(breach.first[0])}" if breach.first else ""
    allowed = "" if check.at_least == 1 else f"; {check.at_least * 100:g}% must {'hold it' if condition else 'have one'}"
    return f"{breach.rows:,} of {_format_rows(rows)} ({text}) {verb} {rule}{example}{allowed}"


def _judge_row_count(check: RowCount, rows: int, continues: bool) -> tuple[bool, str]:
    if continues and not rows:
        return True, "the run found nothing new to compute"
    limits = [f"at {name} {limit:,}" for name, limit in (("least", check.at_least), ("most", check.at_most)) if limit is not None]
    passed = (check.at_least is None or rows >= check.at_least) and (check.at_most is None or rows <= check.at_most)
    return passed, f"the run computed {_format_rows(rows)}; expected {' and '.join(limits)}"


def _judge_freshness(check: Freshness, source: str, newest: int | None, end: int) -> tuple[bool, str]:
    limit = f"at most {check.within} is allowed"
    if newest is None:
        return False, f"source {source} has no event in the {check.within} before {_format_time(end)}"
    age = end - newest
    passed = age <= microseconds(check.within)
    return (
        passed,
        f"the newest event of source {source} was at {_format_time(newest)}, {_format_duration(age)} before the end of the run; {limit}",
    )


def _format_rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"


def _format_time(microseconds_: int) -> str:
    return str(times.text(microseconds_)).replace(".000000Z", "Z")


def _format_duration(duration: int) -> str:
    """A duration in its two largest units, such as `2d 3h`; `0s` if shorter than a second."""
    return " ".join(list(_duration_parts(duration))[:2]) or "0s"


def _duration_parts(duration: int) -> Iterator[str]:
    for unit, size in _UNITS:
        if duration >= size:
            yield f"{duration // size}{unit}"
            duration %= size
