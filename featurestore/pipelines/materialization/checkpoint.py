"""A backfill that is under way: what it computes, and the chunks whose files lie ready, in one property of its table.

No snapshot refers to these files, so no reader sees them; the commit that lands them takes the property away.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from featurestore.lakehouse.tables import Table

UNFINISHED = "featurestore.unfinished"


@dataclass(frozen=True)
class Unfinished:
    """What a run set out to do, and how far it is.

    `run` is its time, `start` and `upper` are what it was asked for, in microseconds; `pins` its sources; `base` the
    table's snapshot then. `plan` is what else the chunks depend on. `done` names the chunks whose `files` lie ready,
    with `computed` rows and, to append, `rows` of which `corrections` are some; `tally` counts for the view's checks.
    """

    run: int
    start: int | None
    upper: int
    pins: Mapping[str, str]
    base: int | None
    plan: str
    done: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    computed: int = 0
    rows: int = 0
    corrections: int = 0
    tally: Mapping[str, Any] = field(default_factory=dict)

    def to_property(self) -> str:
        """As the value of a table property."""
        return json.dumps(asdict(self), sort_keys=True)


def unfinished(table: Table) -> Unfinished | None:
    """The backfill that a run left in the table or is still at; None when there is none."""
    found = table.properties.get(UNFINISHED)
    if not found:
        return None
    held = json.loads(found)
    return Unfinished(**{**held, "done": tuple(held["done"]), "files": tuple(held["files"])})


def wanted_files(properties: Mapping[str, str]) -> frozenset[str]:
    """The files that an unfinished backfill of a table with these properties has ready: no snapshot has them yet."""
    return frozenset(json.loads(properties[UNFINISHED])["files"]) if properties.get(UNFINISHED) else frozenset()
