"""Columns of a source that are dropped, added again, renamed or widened: a view equals one in a new store."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table
from pyiceberg.types import DecimalType, DoubleType, IntegerType, LongType, StringType, TimestamptzType

from featurestore import Entity, FeatureService, FeatureStore, FeatureView, Settings, Source, agg
from featurestore.errors import FeatureStoreError, MaterializationFailed, RequestError, TypeMismatch
from featurestore.records import feature_table
from tests.worlds import STAMP

END = "2026-03-15"
SPINE = [{"k": k, "now": f"2026-03-{day:02}T12:00"} for k in (1, 2) for day in range(1, 11)]
SCHEMA = pa.schema(
    [
        ("k", pa.int64()),
        ("t", STAMP),
        ("v", pa.int32()),
        ("w", pa.int32()),
        ("f", pa.float32()),
        ("d", pa.decimal128(9, 2)),
        ("c", STAMP),
        ("s", pa.struct([("x", pa.int32()), ("y", pa.int32())])),
    ]
)


def day(number: int) -> datetime:
    return datetime(2026, 3, number, 9, tzinfo=UTC)


def rows(*given: tuple[int, int, int]) -> pa.Table:
    """One row for each (k, day, v)."""
    made = [
        {"k": k, "t": day(at), "v": v, "w": v + 1, "f": v / 10, "d": Decimal(v) / 4, "c": day(at), "s": {"x": v, "y": -v}}
        for k, at, v in given
    ]
    return pa.Table.from_pylist(made, SCHEMA)


class World:
    """A source table, a store over it, and others, with features of their own, that see it as it is later."""

    def __init__(self, tmp: Path) -> None:
        self._tmp = tmp
        self.store = self.open("old")
        self.store.catalog.create_namespace("raw")
        self.store.catalog.create_table("raw.a", schema=SCHEMA)
        self.source.append(rows((1, 1, 10), (1, 3, 20), (2, 2, 30), (2, 5, 40)))

    @property
    def source(self) -> Table:
        return self.store.catalog.load_table("raw.a")

    def open(self, name: str) -> FeatureStore:
        spaces: dict[str, Any] = {f"{kind}_namespace": f"{kind}_{name}" for kind in ("features", "training_sets", "registry", "inference")}
        catalog = {"type": "sql", "uri": f"sqlite:///{self._tmp}/catalog.db"}
        return FeatureStore(settings=Settings(home=self._tmp / name, catalog=catalog, warehouse=f"{self._tmp}/warehouse", **spaces))

    def append(self, *given: tuple[int, int, int]) -> None:
        """Rows with the columns that the source has now; a struct, which other columns do not tell, stays NULL."""
        table = self.source
        names = [field.name for field in table.schema().fields if field.name in SCHEMA.names and field.name != "s"]
        table.append(rows(*given).select(names).cast(pa.schema([table.schema().as_arrow().field(name) for name in names])))

    def as_new(self, service: FeatureService) -> None:
        """The rows of the store are those of a store that begins now, at every time and online."""
        new = self.open("new")
        new.apply([service])
        new.materialize(end=END)
        assert offline(self.store) == offline(new)
        entities = [{"k": 1}, {"k": 2}]
        assert self.store.online_features("svc", entities).rows == new.online_features("svc", entities).rows


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def offline(store: FeatureStore) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = store.point_in_time("svc", SPINE, timestamp="now").to_pylist()
    return joined


ENTITY = Entity("e", keys="k")


def service(source: Source | None = None, feature: str = "v") -> FeatureService:
    read = source or Source("a", table="raw.a", timestamp="t")
    row = FeatureView("row_view", entity=ENTITY, source=read, features={"x": feature})
    features = {"s": agg.sum(feature, over="7d"), "n": agg.count(over="7d")}
    return FeatureService("svc", features=[row, FeatureView("sums", entity=ENTITY, source=read, every="1d", features=features)])


def again(table: Table, name: str, kind: Any) -> None:
    """Drop a column, and add another one under its name."""
    with table.update_schema() as change:
        change.delete_column(name)
    with table.update_schema() as change:
        change.add_column(name, kind)


def exchange(table: Table) -> None:
    """Let v be called w, and w be called v."""
    for before, after in (("v", "u"), ("w", "v"), ("u", "w")):
        with table.update_schema() as change:
            change.rename_column(before, after)


def nest(table: Table) -> None:
    with table.update_schema() as change:
        change.delete_column("s.x")
    with table.update_schema() as change:
        change.add_column(("s", "x"), IntegerType())


PLAIN = Source("a", table="raw.a", timestamp="t")
CASES: dict[str, tuple[FeatureService, Callable[[Table], None]]] = {
    "feature": (service(), lambda table: again(table, "v", IntegerType())),
    "exchanged": (service(), exchange),
    "where": (service(Source("a", table="raw.a", timestamp="t", where="w > 20"), "v"), exchange),
    "added column": (
        service(Source("a", table="raw.a", timestamp="t", columns={"z": "w * 2"}), "z"),
        lambda t: again(t, "w", IntegerType()),
    ),
    "created": (service(Source("a", table="raw.a", timestamp="t", created="c")), lambda table: again(table, "c", TimestamptzType())),
    "timestamp": (service(Source("a", table="raw.a", timestamp="c")), lambda table: again(table, "c", TimestamptzType())),
    "key": (service(), lambda table: again(table, "k", LongType())),
    "query": (service(Source("q", sql="SELECT k, t, v FROM raw.a", timestamp="t")), exchange),
    "nested": (service(Source("q", sql="SELECT k, t, s.x AS x FROM raw.a", timestamp="t"), "x"), nest),
}
ALONE = ("feature", "created", "query")
"""Cases that nothing is appended to as well: one of what a view computes, one of what it only knows, one of a query."""


@pytest.mark.slow
@pytest.mark.parametrize("case, appended", [*((case, True) for case in CASES), *((case, False) for case in ALONE)])
def test_a_name_that_means_another_column_is_computed_anew(world: World, case: str, appended: bool) -> None:
    expected, change = CASES[case]
    world.store.apply([expected])
    world.store.materialize(end=END)
    before = offline(world.store)
    change(world.source)
    if appended:
        world.append((2, 6, 7))
    world.store.materialize(end=END)
    # Where nothing comes, a known time that is not known any more leaves the values as they are.
    assert (offline(world.store) == before) == (case == "created" and not appended)
    world.as_new(expected)
    assert [run.rows_appended for run in world.store.materialize(end=END)] == [0, 0]


@pytest.mark.slow
def test_a_column_that_was_added_again_is_another_one(world: World) -> None:
    expected = service()
    world.store.apply([expected])
    world.store.materialize(end=END)
    again(world.source, "v", IntegerType())
    world.append((2, 6, 7))
    world.store.materialize(end=END)
    seen = {(row["k"], row["now"]): (row["x"], row["s_7d"]) for row in offline(world.store)}
    # Iceberg says that what was written before a column was added is NULL in it.
    assert list(seen.values())[:10] == [(None, None)] * 10
    assert [value for (k, _), value in seen.items() if k == 2] == [(None, None)] * 5 + [(7, None)] + [(7, 7)] * 4


@pytest.mark.slow
def test_what_an_earlier_release_noted_is_judged_by_the_schemas_that_the_source_had(world: World) -> None:
    expected = service()
    world.store.apply([expected])
    world.store.materialize(end=END)
    again(world.source, "v", IntegerType())
    world.append((2, 6, 7))
    for name in ("row_view_v1", "sums_v1"):
        with world.store.catalog.load_table(f"features_old.{name}").transaction() as change:
            change.remove_properties(feature_table.SCHEMAS)
    world.store.materialize(end=END)
    world.as_new(expected)


@pytest.mark.slow
@pytest.mark.parametrize("feature, kind", [("v", LongType()), ("f", DoubleType()), ("d", DecimalType(18, 2))])
def test_a_wider_column_is_taken_or_makes_a_new_version(world: World, feature: str, kind: Any) -> None:
    """Sums have room for what is wider; the row view has not, and the plan says so before a run stops."""
    expected = service(feature=feature)
    world.store.apply([expected])
    world.store.materialize(end=END)
    with world.source.update_schema() as change:
        change.update_column(feature, kind)
    world.append((2, 6, 7))
    done = world.store.materialize(end=END, failures="return")
    assert [failure.view for failure in done.failures] == ["row_view"]
    assert [run.view for run in done] == ["sums"]
    assert isinstance(done.error, TypeMismatch)
    plan = world.store.plan([expected])
    steps = {step.name: (step.action, step.version) for step in plan.steps if step.kind in ("view", "service")}
    assert steps == {"row_view": ("new version", 2), "sums": ("unchanged", 1), "svc": ("new version", 2)}
    assert "but the source now gives" in str(plan)
    world.store.apply(plan)
    assert not world.store.plan([expected]).changed
    world.store.materialize(end=END)
    world.as_new(expected)


@pytest.mark.slow
def test_a_narrower_source_fits_what_is_wider(world: World) -> None:
    """A table that is created again with narrower types, whose values fit the types of the feature table."""
    expected = service()
    wide = rows((1, 1, 10)).cast(SCHEMA.set(2, pa.field("v", pa.int64())))
    world.store.catalog.drop_table("raw.a")
    world.store.catalog.create_table("raw.a", schema=wide.schema).append(wide)
    world.store.apply([expected])
    world.store.materialize(end=END)
    world.store.catalog.drop_table("raw.a")
    world.store.catalog.create_table("raw.a", schema=SCHEMA).append(rows((1, 1, 11), (2, 2, 12)))
    assert not world.store.plan([expected]).changed
    world.store.materialize(end=END)
    assert {(row["k"], row["x"]) for row in offline(world.store)} == {(1, 11), (2, None), (2, 12)}


GONE: dict[str, tuple[FeatureView, Callable[[Table], None], str]] = {
    "dropped": (FeatureView("one", entity=ENTITY, source=PLAIN, features=["v"]), lambda t: drop(t, "v"), "'v' was dropped"),
    "renamed": (FeatureView("one", entity=ENTITY, source=PLAIN, features=["v"]), lambda t: rename(t, "v", "value"), "renamed to 'value'"),
    "key": (FeatureView("one", entity=ENTITY, source=PLAIN, features=["v"]), lambda t: rename(t, "k", "key"), "'k' was renamed to 'key'"),
    "timestamp": (FeatureView("one", entity=ENTITY, source=PLAIN, features=["v"]), lambda t: drop(t, "t"), "'t' was dropped"),
    "text": (
        FeatureView("one", entity=ENTITY, source=PLAIN, features={"x": "v + 1"}),
        lambda t: again(t, "v", StringType()),
        "does not work on these types",
    ),
    "query": (
        FeatureView("one", entity=ENTITY, source=Source("q", sql="SELECT k, t, v FROM raw.a", timestamp="t"), features=["v"]),
        lambda t: drop(t, "v"),
        "no column 'v'",
    ),
}


def drop(table: Table, name: str) -> None:
    with table.update_schema() as change:
        change.delete_column(name)


def rename(table: Table, name: str, after: str) -> None:
    with table.update_schema() as change:
        change.rename_column(name, after)


@pytest.mark.slow
@pytest.mark.parametrize("case", GONE)
def test_a_column_that_is_gone_stops_its_view_alone_and_says_what_to_do(world: World, case: str) -> None:
    view, change, message = GONE[case]
    other_source = Source(
        "b", sql="SELECT w AS k, max(f) AS f, TIMESTAMPTZ '2026-03-01 00:00:00+00' AS t FROM raw.a GROUP BY w", timestamp="t"
    )
    other = FeatureView("two", entity=ENTITY, source=other_source, features=["f"])
    world.store.apply([view, other])
    world.store.materialize(end=END)
    change(world.source)
    with pytest.raises(RequestError, match=message) as caught:
        world.store.materialize(end=END)
    told = caught.value
    assert told.message.startswith(f"view one: source {view.source.name}")
    assert "apply" in told.message
    assert told.details["materialized"] == ["two_v1"]
    assert told.details["failures"] == [{"view": "one", "table": "one_v1", "type": "RequestError", "message": told.message}]
    blocked = next(step for step in world.store.plan([view, other]).steps if step.name == "one")
    assert blocked.action == "unchanged"
    assert "cannot be materialized" in blocked.reason


@pytest.mark.slow
def test_one_broken_view_keeps_no_other_from_being_brought_up_to_date(world: World) -> None:
    views = [FeatureView(name, entity=ENTITY, source=PLAIN, features=[column]) for name, column in (("a", "v"), ("b", "w"), ("c", "f"))]
    world.store.apply([*views, FeatureService("svc", features=[views[1]])])
    drop(world.source, "v")
    drop(world.source, "f")
    done = world.store.materialize(end=END, failures="return")
    assert [run.table for run in done] == ["b_v1"]
    assert [(failure.view, failure.table, type(failure.error)) for failure in done.failures] == [
        ("a", "a_v1", RequestError),
        ("c", "c_v1", RequestError),
    ]
    assert world.store.point_in_time("svc", [{"k": 1, "now": day(4)}], timestamp="now")["w"].to_pylist() == [21]
    with pytest.raises(RequestError, match=r"2 of 3 views were not brought up to date:\n  view a: .*\n  view c: ") as caught:
        world.store.materialize(end=END)
    assert [failure["view"] for failure in caught.value.details["failures"]] == ["a", "c"]
    with pytest.raises(RequestError, match="neither 'raise' nor 'return'"):
        world.store.materialize(end=END, failures="ignore")  # type: ignore[arg-type]


def test_failures_of_several_kinds_are_one_error(world: World) -> None:
    views = [FeatureView(name, entity=ENTITY, source=PLAIN, features=[column]) for name, column in (("a", "v"), ("b", "w"))]
    world.store.apply(views)
    drop(world.source, "v")
    world.store.catalog.drop_table("features_old.b_v1")
    with pytest.raises(MaterializationFailed, match=r"view b: no table 'features_old\.b_v1'"):
        world.store.materialize(end=END)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError, FeatureStoreError("enough")])
def test_an_interrupt_and_whoever_watches_stop_the_run(world: World, stop: Any) -> None:
    views = [FeatureView(name, entity=ENTITY, source=PLAIN, features=[column]) for name, column in (("a", "v"), ("b", "w"))]
    world.store.apply(views)
    seen: list[str] = []

    def watch(progress: Any) -> None:
        seen.append(progress.view)
        raise stop

    with pytest.raises(type(stop) if isinstance(stop, Exception) else stop):
        world.store.materialize(end=END, progress=watch)
    assert seen == ["a"]
