"""The parameters of the compiled SQL of views: bounds of time and relations. A run fills in its own; SQL for people shows their names."""

from dataclasses import dataclass, field
from typing import TypeAlias

from featurestore.compiler.relations import Handle

SOURCE = "__fs_source"
EVENTS = "__fs_events"
TILES = "__fs_tiles"
POINTS = "__fs_points"


@dataclass(frozen=True)
class Parameter:
    """A value that is shown by its name. A query that has one is for reading, and for the types of its columns: it selects no rows."""

    name: str


Bound: TypeAlias = "int | bool | Parameter"
"""Microseconds since 1970, or a condition, or the parameter that stands for one."""


def bound_sql(value: Bound) -> str:
    """SQL of a bound; a number is a BIGINT, as small as it may be."""
    if isinstance(value, Parameter):
        return f"getvariable('{value.name}')"
    return str(value).lower() if isinstance(value, bool) else f"CAST({value} AS BIGINT)"


RUN = Parameter("run")
"""The time of a run."""


@dataclass(frozen=True)
class Bounds:
    """The feature_timestamps in [lower, upper], computed from the events in [events_lower, events_upper]; in microseconds.

    `carry_in` adds, for every key with an event before `lower`, the first grid point at or after `lower`.
    """

    lower: Bound = field(default=Parameter("lower"))
    upper: Bound = field(default=Parameter("upper"))
    events_lower: Bound = field(default=Parameter("events_lower"))
    events_upper: Bound = field(default=Parameter("events_upper"))
    carry_in: Bound = field(default=Parameter("carry_in"))


@dataclass(frozen=True)
class Relations:
    """The relations of a view's computation: its source's rows, and the tables that its steps create and read."""

    source: Handle | str = SOURCE
    events: Handle | str = EVENTS
    tiles: Handle | str = TILES
    points: Handle | str = POINTS


PARAMETERS = Bounds()
NAMES = Relations()
