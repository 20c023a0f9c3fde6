"""Rows of an aggregate view over events in memory, computed by any of the plans that it compiles to."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from featurestore import Entity, FeatureView, Settings, Source, agg
from featurestore.compiler.aggregates import Shortcuts
from featurestore.compiler.events import Events, compile_events
from featurestore.compiler.parameters import EVENTS, SOURCE, Bounds
from featurestore.compiler.query import Query, text_query
from featurestore.compiler.relations import Handle
from featurestore.compiler.views import ROWS, compile_view, rows_at_point
from featurestore.engine.duck import DuckEngine
from featurestore.engine.session import Session
from featurestore.errors import RequestError

HOUR = 3_600_000_000
LENGTHS = {"1h": HOUR, "3h": 3 * HOUR, "1d": 24 * HOUR}
FUNCTIONS = ("count", "count_distinct", "sum", "mean", "min", "max", "stddev", "percentile", "first", "last", "last_n")
# The engine plans a third of the functions in a third of the time; each third has one that adds.
TOGETHER = (("count", "sum", "min", "first"), ("count_distinct", "mean", "max", "last"), ("stddev", "percentile", "last_n", "sum"))
NARROW, WIDE, ANY = Shortcuts(narrow=True), Shortcuts(), Shortcuts(any_value=True)
STAMP = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema([("k", pa.string()), ("j", pa.int64()), ("t", STAMP), ("c", STAMP), ("x", pa.float64()), ("keep", pa.bool_())])

Row = dict[str, Any]


def make_view(
    created: bool, every: str = "1h", lengths: Sequence[str] = tuple(LENGTHS), functions: Sequence[str] = FUNCTIONS
) -> FeatureView:
    """These aggregations of `x` over all lengths, and over the second of them where `keep` holds."""
    features: dict[str, Any] = {"rows": agg.count(over=lengths)}
    for function in functions:
        extra: dict[str, Any] = {"n": 2} if function == "last_n" else {"q": 0.3} if function == "percentile" else {}
        features[function] = getattr(agg, function)("x", over=lengths, **extra)
        features[f"{function}_kept"] = getattr(agg, function)("x", over=lengths[1], where="keep", **extra)
    source = Source("s", table="raw.s", timestamp="t", created="c" if created else None)
    return FeatureView("v", entity=Entity("e", keys=["k", "j"]), source=source, every=every, features=features)


@dataclass(frozen=True)
class Computer:
    """A session that holds the events of a view."""

    session: Session
    view: FeatureView
    events: Events

    def rows(self, lower: int, upper: int, reach: int, shortcuts: Shortcuts = ANY) -> list[Row] | None:
        """The rows of [lower, upper] from the events since `reach`; None where these shortcuts do not fit the events."""
        compiled = compile_view(self.view, self.events, self._types(), shortcuts, Bounds(lower, upper, reach, upper, carry_in=False))
        if not self._make(compiled.once, shortcuts):
            return None
        if compiled.facts is not None and not self.session.batches(compiled.facts).read_all().to_pylist()[0]["fits"]:
            return None
        for name, query in compiled.each:
            self.session.create_table(name, query)
        return self._fetch(ROWS)

    def rows_at(self, point: int, reach: int, shortcuts: Shortcuts = ANY) -> list[Row] | None:
        """The rows of one grid point, computed by itself; None where these shortcuts do not fit the events."""
        select = rows_at_point(self.view, self.events, self._types(), shortcuts, point, Handle(EVENTS))
        events = self.events.rows(SOURCE, reach, point)
        return self._fetch("at_point") if self._make([(EVENTS, events), ("at_point", select)], shortcuts) else None

    def _types(self) -> dict[str, str]:
        return self.session.schema(self.events.sql)

    def _make(self, tables: Sequence[tuple[str, Query]], shortcuts: Shortcuts) -> bool:
        try:
            for name, query in tables:
                self.session.create_table(name, query)
        except RequestError:
            if shortcuts.any_value:
                raise
            return False
        return True

    def _fetch(self, relation: str) -> list[Row]:
        times = ", ".join(f"epoch_us({name}) AS {name}" for name in ("feature_timestamp", "created_timestamp"))
        table = self.session.batches(text_query(f"SELECT * REPLACE ({times}) FROM {relation} ORDER BY k, j, feature_timestamp")).read_all()
        return [dict(row) for row in table.to_pylist()]


@contextmanager
def computer(home: Path, view: FeatureView, events: Sequence[Mapping[str, Any]] | pa.Table, threads: int = 1) -> Iterator[Computer]:
    """A computer over events of SCHEMA; times are microseconds."""
    with DuckEngine(Settings(home=home, threads=threads)).session() as session:
        session.add(SOURCE, events if isinstance(events, pa.Table) else pa.Table.from_pylist([dict(event) for event in events], SCHEMA))
        yield Computer(session, view, compile_events(view, SCHEMA.names))
