"""`python -m benchmarks [NAME]... [--rows N] [--rounds N]`: prints seconds and ratios."""

import argparse

from rich.console import Console

from benchmarks import (
    join,
    large_join,
    long_spine,
    lookups,
    materialize,
    memory,
    online,
    probes,
    pruning,
    publish,
    reading,
    row_view,
    scaling,
    serving,
    storing,
    verbs,
)

BENCHMARKS = {
    "materialize": materialize.run,
    "memory": memory.run,
    "row_view": row_view.run,
    "join": join.run,
    "large_join": large_join.run,
    "long_spine": long_spine.run,
    "pruning": pruning.run,
    "publish": publish.run,
    "storing": storing.run,
    "reading": reading.run,
    "scaling": scaling.run,
    "lookups": lookups.run,
    "online": online.run,
    "probes": probes.run,
    "serving": serving.run,
    "verbs": verbs.run,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all when none is given")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows or events; 1000000")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds; 3")
    given = parser.parse_args()
    unknown = set(given.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    for name in given.names or BENCHMARKS:
        BENCHMARKS[name](Console(), given.rows, given.rounds)


if __name__ == "__main__":
    main()
