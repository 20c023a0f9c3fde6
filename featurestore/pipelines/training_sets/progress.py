"""Progress of building a training set."""

from collections.abc import Callable
from dataclasses import dataclass

FINISH = "finish"


@dataclass(frozen=True)
class BuildProgress:
    """`rows` of `total` are written. `stage` is join, write, or finish: all rows are written and only the commit is left."""

    stage: str
    rows: int
    total: int


OnBuildProgress = Callable[[BuildProgress], None]


def report_rows_written(total: int, report: OnBuildProgress) -> Callable[[int], None]:
    """Report the start of a build, and return a callback that reports the number of rows written."""

    def on_rows_written(rows: int) -> None:
        report(BuildProgress("write" if rows < total else FINISH, rows, total))

    report(BuildProgress("join" if total else FINISH, 0, total))
    return on_rows_written
