"""Taking turns: what is compared runs alternately, so that a machine that slows down slows both."""

import statistics
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

Work = Callable[[], object]


def seconds(work: Work) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def processor_seconds(work: Work) -> float:
    """How much time of processors one call takes in this process, which other processes change little."""
    began = time.process_time()
    work()
    return time.process_time() - began


def in_turns(
    works: Sequence[tuple[str, Work]], rounds: int, warm_up: bool = True, measure: Callable[[Work], float] = seconds
) -> dict[str, list[float]]:
    """The seconds of each work, round by round; the first round is not counted with `warm_up`."""
    taken: dict[str, list[float]] = {name: [] for name, _ in works}
    for round_ in range(rounds + warm_up):
        for name, work in works:
            took = measure(work)
            if round_ >= warm_up:
                taken[name].append(took)
    return taken


def show(console: Console, title: str, taken: dict[str, list[float]], against: str) -> dict[str, float]:
    """A table of medians, and of ratios taken round by round against one of the works. Returns the median ratios."""
    table = Table("", "seconds", f"against {against}", title=title, title_justify="left")
    ratios: dict[str, float] = {}
    for name, values in taken.items():
        ratios[name] = statistics.median(one / other for one, other in zip(values, taken[against], strict=True))
        table.add_row(name, f"{statistics.median(values):.2f}", f"{ratios[name]:.2f}")
    console.print(table)
    return ratios
