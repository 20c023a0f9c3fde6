"""A training set under masks and a row filter, against the same training set of a principal that is exempt from them, in turns."""

import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from benchmarks.join import DAYS, given_views
from featurestore import FeatureStore, Mask, RowFilter, TablePolicy

POLICIES = [
    TablePolicy(
        "view0",
        masks={"r0_f0": Mask("round(r0_f0, 1)", unless=["exempt"]), "r0_f1": Mask("NULL", unless=["exempt"])},
        rows=RowFilter("r0_f2 > 0.2", unless=["exempt"]),
    ),
    TablePolicy("view1", masks={"r1_f0": Mask("round(r1_f0, 1)", unless=["exempt"])}),
    TablePolicy("view2", rows=RowFilter("r2_f2 > 0.2 AND key % 10 <> 0", unless=["exempt"])),
]
"""Every view of the service has a mask, a filter, or both."""


def run(console: Console, rows: int, rounds: int) -> dict[str, float]:
    """Three views of `rows` rows and ten features, a spine of half as many rows. Returns the ratios of processor time and of seconds."""
    with TemporaryDirectory() as folder:
        home = Path(folder)
        spine = given_views(home, rows, max(rows // 20, 1), DAYS)
        with FeatureStore(home=home / "store") as store:
            store.apply(POLICIES)
            for privilege in ("READ", "WRITE"):
                store.grant(privilege, "CATALOG", "GROUP readers")
            exempt, under = store.as_principal("exempt", ["readers", "exempt"]), store.as_principal("under", ["readers"])
            numbers = itertools.count()
            costs: dict[str, list[tuple[float, float]]] = {"exempt": [], "under policies": []}
            for counted in range(rounds + 1):
                for name, reader in (("exempt", exempt), ("under policies", under)):
                    # Under a name of its own, since the same request is built once.
                    build = lambda reader=reader: reader.training_set("endless", spine, "asked_at", name=f"set{next(numbers)}")  # noqa: E731
                    cost = _cost(build)
                    if counted:
                        costs[name].append(cost)
    table = Table("", "processor, s", "seconds", "ratio of processor time", "ratio of seconds", title=f"training set, spine {rows // 2:,}")
    ratios: dict[str, float] = {}
    for name, taken in costs.items():
        pairs = list(zip(taken, costs["exempt"], strict=True))
        processor, waited = (statistics.median(one[what] / other[what] for one, other in pairs) for what in (0, 1))
        spent = [f"{statistics.median(values):.2f}" for values in zip(*taken, strict=True)]
        table.add_row(name, *spent, f"{processor:.3f}", f"{waited:.3f}")
        ratios |= {f"{name}, processor": processor, f"{name}, seconds": waited}
    console.print(table)
    return ratios


def _cost(work: Callable[[], object]) -> tuple[float, float]:
    """The processor time and the seconds of one call."""
    spent, began = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - spent, time.perf_counter() - began
