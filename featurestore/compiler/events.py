"""Events: a source's rows prepared for a view, with keys, event time, created time, and one column for each input."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from featurestore.compiler.expressions import SqlProblem, column_names, parse_row, quoted, resolve
from featurestore.compiler.parameters import PARAMETERS, SOURCE, Bound, Bounds, Parameter, bound_sql
from featurestore.compiler.query import Query, from_sql, text_query
from featurestore.compiler.relations import Handle
from featurestore.compiler.zero_divisors import row_sql
from featurestore.dsl.agg import Aggregation
from featurestore.dsl.definitions import owner_of
from featurestore.dsl.problems import FieldProblem, problems_at
from featurestore.dsl.source import Source
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
    source = view.source
    scope = source_scope(source, columns)
    raw_keys = tuple(_resolved(key, columns) for key in view.entity.keys)
    keys = tuple(map(quoted, raw_keys))
    inputs = tuple(Input(f"__fs_i{i}", sql, row_sql(sql, scope), field) for i, (sql, field) in enumerate(input_sql(view)))
    time = f"CAST({scope[_resolved(source.timestamp, scope)]} AS TIMESTAMP WITH TIME ZONE)"
    known_at = scope[_resolved(source.created, scope)] if source.created else "NULL"
    keep = f"({row_sql(source.where, scope)})" if source.where else "true"
    named = [f"{sql} AS {quoted(key)}" for key, sql in zip(view.entity.keys, keys, strict=True)]
    selected = [
        *named,
        f"{time} AS {TIME}",
        f"CAST({known_at} AS TIMESTAMP WITH TIME ZONE) AS {CREATED}",
        *(f"{item.sql} AS {item.name}" for item in inputs),
    ]
    written = [item.text for item in inputs] + ([source.where] if source.where else [])
    read = raw_reads(source, columns, [name for text in written for name in column_names(parse_row(text))])
    read |= {_resolved(key, columns) for key in view.entity.keys}
    read |= raw_reads(source, columns, [name for name in (source.timestamp, source.created) if name])
    return Events(
        reads=tuple(column for column in columns if column in read),
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


def source_scope(source: Source, columns: Sequence[str]) -> dict[str, str]:
    """Every name that row SQL over the source may use, mapped to its SQL over raw columns."""
    scope = {column: quoted(column) for column in columns}
    for name, sql in source.columns.items():
        scope[name] = f"({row_sql(sql, scope)})"
    return scope


def raw_reads(source: Source, columns: Sequence[str], names: Sequence[str]) -> set[str]:
    """The raw columns behind names used in row SQL over the source; a name of `columns=` stands for the columns that its SQL reads."""
    reads = {column: {column} for column in columns}
    for name, sql in source.columns.items():
        reads[name] = {raw for column in column_names(parse_row(sql)) for raw in reads[_resolved(column, reads)]}
    return {raw for name in names for raw in reads[_resolved(name, reads)]}


def known_scope(source: Source, columns: Sequence[str]) -> dict[str, str]:
    """As `source_scope`, without added columns that read an unknown name."""
    known: dict[str, str] = {}
    names = list(columns)
    for name, sql in source.columns.items():
        if all(resolve(column, names) for column in column_names(parse_row(sql))):
            known[name] = sql
            names.append(name)
    return source_scope(replace(source, columns=known), columns)


def input_sql(view: FeatureView) -> tuple[tuple[str, str], ...]:
    """The distinct row SQL that features read, each with the first field of the definition that has it."""
    fields: dict[str, str] = {}
    for name, feature in view.declared.items():
        if isinstance(feature, Aggregation):
            for sql in (feature.column, feature.where):
                if isinstance(sql, str):
                    fields.setdefault(sql, f"features.{name}")
        elif isinstance(feature, str):
            fields.setdefault(feature, f"features.{name}")
    return tuple(fields.items())


def field_problems(view: FeatureView, columns: Sequence[str]) -> list[FieldProblem]:
    """A problem for every name in a view that is unknown in its checked source with these raw columns."""
    scope = dict.fromkeys([*columns, *view.source.columns], "")
    problems = source_field_problems(view.source, columns)
    for key in view.entity.keys:
        if resolve(key, columns) is None:
            hint = "; a key must be a raw column of the source" if key in scope else near(key, columns)
            message = f"no column {brief(key)} in source {view.source.name}{hint}"
            problems.append(FieldProblem(owner_of(view.entity), "keys", message))
    for sql, field in input_sql(view):
        problems.extend(problems_at(owner_of(view), field, _unknown_columns(sql, scope)))
    return problems


def source_field_problems(source: Source, columns: Sequence[str]) -> list[FieldProblem]:
    """A problem for every name in a checked source that is not among its raw columns."""
    owner = owner_of(source)
    problems: list[FieldProblem] = []
    scope = dict.fromkeys(columns, "")
    for name, sql in source.columns.items():
        problems.extend(problems_at(owner, f"columns.{name}", _unknown_columns(sql, scope)))
        scope[name] = ""
    for role, column in (("timestamp", source.timestamp), ("created", source.created)):
        if column and resolve(column, scope) is None:
            problems.append(FieldProblem(owner, role, f"no column {brief(column)}{near(column, scope)}"))
    if source.where:
        problems.extend(problems_at(owner, "where", _unknown_columns(source.where, scope)))
    return problems


def _unknown_columns(sql: str, scope: Mapping[str, str]) -> list[str]:
    try:
        names = column_names(parse_row(sql))
    except SqlProblem:
        # Invalid SQL is reported by the check of the definitions.
        return []
    return [f"no column {brief(name)}{near(name, scope)}" for name in names if resolve(name, scope) is None]


def _resolved(name: str, names: Sequence[str] | Mapping[str, object]) -> str:
    column = resolve(name, names)
    if column is None:
        raise SqlProblem(f"no column {brief(name)}{near(name, names)}")
    return column
