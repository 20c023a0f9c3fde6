"""`python -m benchmarks [NAME]... [--rows N] [--rounds N]`: prints seconds and ratios."""

import argparse
from collections.abc import Callable
from functools import partial

from rich.console import Console

from benchmarks import (
    against_feast,
    audit_log,
    continuous,
    join,
    large_join,
    life,
    long_spine,
    lookups,
    materialize,
    memory,
    models,
    online,
    online_policies,
    policies,
    probes,
    pruning,
    publish,
    reading,
    row_view,
    runs,
    s3,
    scaling,
    serving,
    shadows,
    spark,
    storing,
    verbs,
    wide,
    workers,
)

BENCHMARKS = {
    "materialize": materialize.run,
    "memory": memory.run,
    "row_view": row_view.run,
    "continuous": continuous.run,
    "runs": runs.run,
    "s3": s3.run,
    "join": join.run,
    "large_join": large_join.run,
    "long_spine": long_spine.run,
    "pruning": pruning.run,
    "publish": publish.run,
    "storing": storing.run,
    "reading": reading.run,
    "scaling": scaling.run,
    "wide": wide.run,
    "life": life.run,
    "lookups": lookups.run,
    "models": models.run,
    "online": online.run,
    "online_policies": online_policies.run,
    "policies": policies.run,
    "probes": probes.run,
    "serving": serving.run,
    "shadows": shadows.run,
    "spark": spark.run,
    "verbs": verbs.run,
    "workers": workers.run,
    "audit_log": audit_log.run,
    "feast": against_feast.run,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all when none is given")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows or events; 1000000")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds; 3")
    parser.add_argument("--feast", metavar="PYTHON", help="the interpreter of an environment with Feast; one is made without it")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    benchmarks: dict[str, Callable[[Console, int, int], object]] = {**BENCHMARKS, "feast": partial(against_feast.run, python=given.feast)}
    for name in given.names or benchmarks:
        benchmarks[name](Console(), given.rows, given.rounds)


if __name__ == "__main__":
    main()
