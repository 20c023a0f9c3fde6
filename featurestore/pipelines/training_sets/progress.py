"""How far a training set is, told to whoever waits for it."""

from collections.abc import Callable
from dataclasses import dataclass

FINISH = "finish"


@dataclass(frozen=True)
class Progress:
    """`rows` of `total` are written. `stage` is join, write, or finish: every row is joined, and what is left is the commit."""

    stage: str
    rows: int
    total: int


Report = Callable[[Progress], None]


def by_rows(total: int, report: Report) -> Callable[[int], None]:
    """What `build` is given for a report to be told, beginning now."""

    def written(rows: int) -> None:
        report(Progress("write" if rows < total else FINISH, rows, total))

    report(Progress("join" if total else FINISH, 0, total))
    return written
