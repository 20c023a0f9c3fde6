"""Events: a source's rows prepared for a view, with keys, event time, created time, and one column for each input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featurestore.compiler.bound_view import BoundView, bind_view
from featurestore.compiler.expressions import SqlProblem, quote_name, resolve
from featurestore.compiler.parameters import PARAMETERS, SOURCE, Bound, Bounds, Parameter, bound_sql
from featurestore.compiler.query import Query, from_sql, text_query
from featurestore.compiler.relations import Handle
from featurestore.dsl.view import FeatureView
from featurestore.errors import brief, near

TIME = "__fs_time"
CREATED = "__fs_created"
DAY = 86_400_000_000
"""In microseconds."""
FIRST_DAY = 719_162
"""The number of days from year 1 to 1970."""


@dataclass(frozen=True)
class Input:
    """A row expression that a view's features read: its column name in the events, its text as written, its SQL over the raw
    columns, and the first field of the definition that has it."""

    name: str
    text: str
    sql: str
    field: str


@dataclass(frozen=True)
class Events:
    """How to read a view's source.

    `reads` are the raw columns to project, `raw_keys` the raw key columns. `selected` is the SELECT list over them, `keep` the
    condition of the rows that the definition keeps, `has_keys` that of rows without a NULL key, and `time` SQL of the event time.
    """

    reads: tuple[str, ...]
    keys: tuple[str, ...]
    raw_keys: tuple[str, ...]
    inputs: tuple[Input, ...]
    selected: str
    keep: str
    has_keys: str
    time: str

    @property
    def sql(self) -> Query:
        """As `rows`, with parameters: for people, and for the types of the columns."""
        return self.rows(SOURCE, PARAMETERS.events_lower, PARAMETERS.events_upper)

    @property
    def counts(self) -> Query:
        """As `daily_counts`, with parameters: for people."""
        return self.daily_counts(SOURCE, Parameter("now"))

    def rows(self, source: Handle | str, lower: Bound, upper: Bound) -> Query:
        """The events of the raw rows in `source` with event times in [lower, upper] (microseconds).

        The columns are the keys, TIME, CREATED (NULL if the source has none) and the inputs.
        """
        return text_query(
            f"SELECT {self.selected}\nFROM {from_sql(source)}\nWHERE {self.keep} AND {self.has_keys}"
            f"\n  AND {self.time} BETWEEN make_timestamptz({bound_sql(lower)}) AND make_timestamptz({bound_sql(upper)})"
        )

    def within(self, source: Handle | str, bounds: Bounds) -> Query:
        """As `rows`, within the bounds of a run."""
        return self.rows(source, bounds.events_lower, bounds.events_upper)

    def daily_counts(self, source: Handle | str, now: Bound) -> Query:
        """The number of raw rows per day: one row per day, counted from 1970, in ascending order, and one with the day NULL for rows
        without an event time.

        `rows` counts the rows, `null_keys` those with a NULL key, and `future` those with an event time after `now` (microseconds).
        `newest` is the newest event time up to `now` of rows with keys.
        """
        until = f"make_timestamptz({bound_sql(now)})"
        return text_query(
            f"SELECT {day_of(self.time)} AS day, count(*) AS rows, count(*) FILTER (WHERE NOT ({self.has_keys})) AS null_keys,"
            f" count(*) FILTER (WHERE {self.time} > {until}) AS future,"
            f" max(epoch_us({self.time})) FILTER (WHERE {self.has_keys} AND {self.time} <= {until}) AS newest"
            f" FROM {from_sql(source)} WHERE {self.keep}"
            " GROUP BY 1 ORDER BY 1"
        )


def compile_events(view: FeatureView, columns: Sequence[str]) -> Events:
    """Compile the events of a checked view over a source with these raw columns; rows with a NULL key or event time are left out.

    Raises: SqlProblem, whose message names the unknown column; `field_problems` finds them all.
    """
    return events_of(bind_view(view, columns))


def events_of(bound: BoundView) -> Events:
    """The events of a view that is bound to the columns of its source. Raises: as `compile_events`."""
    bound.require_names()
    view, scope = bound.view, bound.scope
    source = view.source
    raw_keys = tuple(_resolve(key, bound.columns) for key in view.entity.keys)
    keys = tuple(map(quote_name, raw_keys))
    inputs = tuple(Input(f"__fs_i{index}", row.text, str(row.sql), row.field) for index, row in enumerate(bound.inputs))
    time = f"CAST({scope[_resolve(source.timestamp, scope)]} AS TIMESTAMP WITH TIME ZONE)"
    known_at = scope[_resolve(source.created, scope)] if source.created else "NULL"
    keep = f"({bound.where.sql})" if bound.where else "true"
    named = [f"{sql} AS {quote_name(key)}" for key, sql in zip(view.entity.keys, keys, strict=True)]
    selected = [
        *named,
        f"{time} AS {TIME}",
        f"CAST({known_at} AS TIMESTAMP WITH TIME ZONE) AS {CREATED}",
        *(f"{item.sql} AS {item.name}" for item in inputs),
    ]
    names = [name for row in (*bound.inputs, *([bound.where] if bound.where else [])) for name in row.names or ()]
    names += [name for name in (source.timestamp, source.created) if name]
    read = {raw for name in names for raw in bound.reads[_resolve(name, bound.reads)]} | set(raw_keys)
    return Events(
        reads=tuple(column for column in bound.columns if column in read),
        keys=tuple(view.entity.keys),
        raw_keys=raw_keys,
        inputs=inputs,
        selected=", ".join(selected),
        keep=keep,
        has_keys=" AND ".join(f"{key} IS NOT NULL" for key in keys),
        time=time,
    )


def day_of(time: str) -> str:
    """SQL of the day of a time, counted from 1970 and floored; computed from year 1, because `//` truncates toward zero."""
    return f"((epoch_us({time}) + {FIRST_DAY * DAY}) // {DAY} - {FIRST_DAY})"


def _resolve(name: str, names: Sequence[str] | Mapping[str, object]) -> str:
    column = resolve(name, names)
    if column is None:
        raise SqlProblem(f"no column {brief(name)}{near(name, names)}")
    return column
