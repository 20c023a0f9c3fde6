"""Runs of entries that follow from one another; what lies between two runs is missing, or was changed."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from featurestore.audit_log.entry import NOTHING, Line
from featurestore.audit_log.results import AuditProblem
from featurestore.audit_log.table import Head


@dataclass
class Run:
    """Consecutive entries of a chain: the hash before the first, and that of the last."""

    first: int
    last: int
    previous: str
    hash: str


class Runs:
    """The runs of all chains in one place, the table or the files."""

    def __init__(self, place: str, known: Mapping[str, Mapping[int, str]], *, ordered: bool) -> None:
        """`known` has hashes of entries by chain and number, which are compared with what comes. `ordered`: lines of a file have an order;
        rows of a table have none.
        """
        self._place, self._known, self._ordered = place, known, ordered
        self._runs: dict[str, list[Run]] = {}
        self._broken: dict[str, set[int]] = {}
        self.problems: list[AuditProblem] = []

    @property
    def chains(self) -> set[str]:
        """The chains of which something came."""
        return {*self._runs, *self._broken}

    def add(self, line: Line) -> None:
        """Take an entry whose own hash is right."""
        entry = line.entry
        known = self._known.get(entry.chain, {}).get(entry.number)
        if known is not None and known != line.hash:
            self.report(entry.chain, entry.number, "was replaced: it is not the entry whose hash was recorded")
        runs = self._runs.setdefault(entry.chain, [])
        if runs and runs[-1].last + 1 == entry.number and runs[-1].hash == entry.previous:
            runs[-1].last, runs[-1].hash = entry.number, line.hash
        else:
            runs.append(Run(entry.number, entry.number, entry.previous, line.hash))

    def report(self, chain: str, number: int, what: str) -> None:
        """Note that an entry is not what was written; it does not count as missing."""
        self._broken.setdefault(chain, set()).add(number)
        self.problems.append(AuditProblem(chain, number, f"{what} ({self._place})"))

    def last(self, chain: str) -> int:
        """The last number of a chain; 0 for none."""
        return max([run.last for run in self._runs.get(chain, ())] + list(self._broken.get(chain, ())), default=0)

    def count(self, chain: str, after: int = 0) -> int:
        """The entries of a chain after this number."""
        return sum(max(0, run.last - max(run.first - 1, after)) for run in self._runs.get(chain, ()))

    def check(self, starts: Mapping[str, Head]) -> None:
        """Find what is missing, there twice or in another order, between runs and before the first, which follows from `starts`; from
        nothing for a chain that is not in it.
        """
        for chain in sorted(self._runs):
            self._check_chain(chain, starts.get(chain, Head(0, NOTHING)))

    def _check_chain(self, chain: str, start: Head) -> None:
        last, hash = start
        runs = self._runs[chain]
        for run in runs if self._ordered else _joined(runs):
            if run.first > last + 1:
                missing = [number for number in range(last + 1, min(run.first, last + 1001)) if number not in self._broken.get(chain, ())]
                if missing:
                    what = f"{describe_missing(missing[0], run.first - 1)} ({self._place})"
                    self.problems.append(AuditProblem(chain, missing[0], what))
            elif run.first <= last:
                what = "stands after a later entry" if self._ordered else "is there twice"
                self.problems.append(AuditProblem(chain, run.first, f"{what} ({self._place})"))
            elif run.previous != hash:
                self.problems.append(AuditProblem(chain, run.first, f"does not follow from the entry before it ({self._place})"))
            last, hash = max(last, run.last), run.hash


def describe_missing(first: int, last: int) -> str:
    """That these entries are missing."""
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"


def _joined(runs: Iterable[Run]) -> Iterator[Run]:
    """The runs by their first numbers; those that follow from one another as one."""
    current: Run | None = None
    for run in sorted(runs, key=lambda run: run.first):
        if current is not None and run.first == current.last + 1 and run.previous == current.hash:
            current = Run(current.first, run.last, current.previous, run.hash)
            continue
        if current is not None:
            yield current
        current = run
    if current is not None:
        yield current
