"""Tables of PostgreSQL: each row is copied once, changed ones are replaced, and a copy that is killed continues."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from featurestore import FeatureStore, FeatureView, Settings, Source
from featurestore.errors import DefinitionError, FeatureStoreError, NotFound, NotReady, RequestError, Timeout
from featurestore.sources.kept import database_copy
from tests import forked
from tests.lakehouse import postgres
from tests.sources.kept import events
from tests.sources.kept.killed import copy_until_killed

pytest.importorskip("adbc_driver_postgresql", reason="no driver of PostgreSQL: pip install adbc-driver-postgresql")

T = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = 'or"ders; '


class Shop:
    """A schema with a table of orders, and a store that copies it."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address.replace("+psycopg2", "")
        self.connection = psycopg.connect(self.address, autocommit=True)
        self.run("CREATE TABLE {} (id bigint, user_id bigint, at timestamptz, updated_at timestamptz, amount float8)")
        self.settings = Settings(home=folder / "home", databases={"shop": self.address})
        self.store = FeatureStore(settings=self.settings)

    def run(self, text: str, *values: Any) -> None:
        """Run a statement, with the table's name in place of braces."""
        self.connection.execute(SQL(text).format(Identifier(TABLE)) if "{}" in text else text, values)

    def put(self, id: int, amount: float, minutes: int, at: datetime = T) -> None:
        """Insert a row that was changed so many minutes after the first day."""
        self.run("INSERT INTO {} VALUES (%s, %s, %s, %s, %s)", id, id % 3, at, T + timedelta(minutes=minutes), amount)

    def source(self, **more: Any) -> Source:
        """The table as a source."""
        return Source("orders", **{"url": "shop", "table": TABLE, "timestamp": "at", "watermark": "updated_at", **more})

    def apply(self, **more: Any) -> None:
        """Apply a view of the source."""
        self.store.apply([FeatureView("last", entity=events.USER, source=self.source(**more), features=["amount"])])

    def amounts(self) -> list[float]:
        """The amounts in the copy, after a run."""
        self.store.materialize()
        return sorted(events.kept(self.store).scan().to_arrow().column("amount").to_pylist())


def copy(shop: Shop, source: Source, report: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Copy the table of a source."""
    database_copy.copy_table(shop.store._runtime, source, report, lambda table: None)


@pytest.fixture(scope="module")
def postgres_address() -> Iterator[str]:
    with postgres.server() as address:
        yield address


@pytest.fixture
def shop(postgres_address: str, tmp_path: Path) -> Iterator[Shop]:
    with postgres.schema(postgres_address) as address:
        shop = Shop(address, tmp_path)
        yield shop
        shop.store.close()
        shop.connection.close()


@pytest.mark.slow
def test_rows_at_the_watermark_are_neither_lost_nor_doubled(shop: Shop) -> None:
    shop.put(1, 1.0, 0)
    shop.put(1, 1.0, 0)
    shop.put(2, 2.0, 60)
    shop.apply()
    assert shop.amounts() == [1.0, 1.0, 2.0]
    before = events.kept(shop.store).metadata.current_snapshot_id
    assert shop.amounts() == [1.0, 1.0, 2.0]
    assert events.kept(shop.store).metadata.current_snapshot_id == before
    shop.put(2, 2.0, 60)
    shop.put(3, 3.0, 60)
    shop.put(4, 4.0, 58)
    shop.put(5, 5.0, 50)
    assert shop.amounts() == [1.0, 1.0, 2.0, 2.0, 3.0, 4.0], "the last one was committed later than the overlap allows"


@pytest.mark.slow
def test_rows_that_change_replace_those_with_their_id_and_become_corrections(shop: Shop) -> None:
    for id in range(6):
        shop.put(id, float(id), id)
    shop.apply(id="id", created="updated_at")
    assert shop.amounts() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    shop.run("UPDATE {} SET amount = 40, updated_at = %s WHERE id = 4", T + timedelta(minutes=90))
    assert shop.amounts() == [0.0, 1.0, 2.0, 3.0, 5.0, 40.0]
    stored = shop.store.catalog.load_table("features.last_v1").scan().to_arrow().sort_by("created_timestamp")
    assert stored.column("amount").to_pylist()[-2:] == [5.0, 40.0]
    snapshots = len(events.kept(shop.store).snapshots())
    shop.run("DELETE FROM {} WHERE id = 0")
    shop.amounts()
    assert len(events.kept(shop.store).snapshots()) == snapshots, "deleted rows are not noticed"


@pytest.mark.slow
def test_a_copy_that_is_killed_continues_after_its_last_piece(shop: Shop) -> None:
    shop.run("INSERT INTO {} SELECT g, mod(g, 3), %s, %s + g * interval '1 minute', g FROM generate_series(0, 999) AS g", T, T)
    shop.apply(id="id", overlap="1s")
    process = forked.fork_context().Process(target=copy_until_killed, args=(str(shop.settings.home), shop.address, 2))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert 0 < events.kept(shop.store).scan().to_arrow().num_rows < 1000
    assert shop.amounts() == [float(number) for number in range(1000)]


@pytest.mark.slow
def test_an_added_column_is_copied_for_all_rows_and_a_dropped_one_is_named(shop: Shop) -> None:
    shop.put(1, 1.0, 0)
    shop.apply()
    shop.amounts()
    shop.run("ALTER TABLE {} ADD COLUMN more int DEFAULT 7")
    shop.store.apply([FeatureView("more", entity=events.USER, source=shop.source(), features=["more"])])
    shop.put(2, 2.0, 60)
    assert shop.amounts() == [1.0, 2.0]
    assert events.kept(shop.store).scan().to_arrow().column("more").to_pylist() == [7, 7]
    shop.run("ALTER TABLE {} DROP COLUMN more")
    with pytest.raises(RequestError, match=r"source orders: column 'more' of .* was dropped or renamed since it was copied; give it back"):
        shop.store.materialize()
    shop.run("ALTER TABLE {} ADD COLUMN more text")
    with pytest.raises(RequestError, match=r"column 'more' of .* is string now, and its copy has int32"):
        shop.store.materialize()
    shop.run("DROP TABLE {}")
    with pytest.raises(NotFound, match=r"no table .*ders; ' in database shop"):
        shop.store.materialize()


@pytest.mark.slow
def test_other_definitions_are_applied_while_the_database_is_down(shop: Shop, tmp_path: Path) -> None:
    shop.put(1, 1.0, 0)
    shop.apply()
    shop.amounts()
    gone = Settings(home=shop.settings.home, databases={"shop": "postgresql://127.0.0.1:9/shop"})
    with FeatureStore(settings=gone) as store:
        view = FeatureView("last", entity=events.USER, source=shop.source(), features=["amount"])
        (step,) = [step for step in store.plan([view, replace(events.USER, name="other")]).steps if step.kind == "view"]
        assert step.action == "unchanged"
        assert "the database shop cannot be reached" in step.reason
        store.apply([view, replace(events.USER, name="other")])
        with pytest.raises(NotReady, match="source orders: the database shop cannot be reached"):
            store.materialize()


def test_types_have_all_of_their_values(shop: Shop) -> None:
    values = {
        "i2": ("int2", "7", 7),
        "numeric_ps": ("numeric(10,2)", "'12.50'", Decimal("12.50")),
        "numeric_any": ("numeric", "'1.50'", "1.50"),
        "numeric_nan": ("numeric", "'NaN'", "NaN"),
        "inf": ("float8", "'-Infinity'", float("-inf")),
        "zoned": ("timestamptz", "'2026-01-01 12:00+02'", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        "unzoned": ("timestamp", "'2026-01-01 12:00'", datetime(2026, 1, 1, 12)),  # noqa: DTZ001
        "day": ("date", "'2026-01-01'", date(2026, 1, 1)),
        "json": ("jsonb", """'{"a": [1]}'""", '{"a": [1]}'),
        "raw": ("bytea", r"'\x00ff'", b"\x00\xff"),
        "ints": ("int4[]", "'{1,NULL}'", [1, None]),
        "exact": ("numeric(3,1)[]", "'{1.5}'", ["1.5"]),
        "nothing": ("int4[]", "NULL", None),
        "span": ("interval", "'1 day'", "P1D"),
        "letters": ("char(3)", "'ab'", "ab"),
    }
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _) in values.items())
    shop.run(f"CREATE TABLE kinds (at timestamptz, {columns})")
    shop.run(f"INSERT INTO kinds VALUES ('2026-01-01', {', '.join(text for _, text, _ in values.values())})")
    source = Source("kinds", url="shop", table="kinds", timestamp="at", watermark="at")
    copy(shop, source)
    (row,) = shop.store.catalog.load_table(source.kept_table).scan().to_arrow().to_pylist()
    assert {name: row[name] for name in values} == {name: value for name, (_, _, value) in values.items()}


@pytest.mark.parametrize(
    "column, value, said",
    [
        ("amount numeric(5,2)", "'NaN'", "column 'amount' of bad of database shop has NaN or infinity"),
        ("amount timestamptz", "'infinity'", "column 'amount' of bad of database shop has a time outside the years 1 to 9999"),
        ("amount date", "'-infinity'", "column 'amount' of bad of database shop has a time outside the years 1 to 9999"),
        ("amount timestamp", "'infinity'", "column 'amount' of bad of database shop has a time outside the years 1 to 9999"),
        ("amount int[]", "'{{1},{2}}'", "has arrays of several dimensions"),
    ],
)
def test_values_that_cannot_be_stored_are_named(shop: Shop, column: str, value: str, said: str) -> None:
    shop.run(f"CREATE TABLE bad (at timestamptz, {column})")
    shop.run(f"INSERT INTO bad VALUES ('2026-01-01', {value})")
    source = Source("bad", url="shop", table="bad", timestamp="at", watermark="at")
    with pytest.raises(RequestError, match=said):
        copy(shop, source)


def test_times_without_a_zone_are_refused_until_it_is_declared(shop: Shop) -> None:
    shop.run("CREATE TABLE local (user_id bigint, at timestamp)")
    shop.run("INSERT INTO local VALUES (1, '2026-07-01 12:00')")
    source = Source("local", url="shop", table="local", timestamp="at", watermark="at", zone="Europe/Berlin")
    unzoned = Source("local", url="shop", table="local", timestamp="at", watermark="at")
    with pytest.raises(DefinitionError, match=r"timestamp='at' of local of database shop is .* without a zone.*zone='UTC'"):
        shop.store.plan([FeatureView("v", entity=events.USER, source=unzoned, features=["user_id"])])
    for _ in range(2):
        copy(shop, source)
    (row,) = shop.store.catalog.load_table(source.kept_table).scan().to_arrow().to_pylist()
    assert row["at"] == datetime(2026, 7, 1, 10, tzinfo=UTC)


def test_what_is_wrong_with_a_source_is_named(shop: Shop) -> None:
    for more, said in (
        ({"url": "shp"}, "the setting databases has no 'shp'; did you mean 'shop'"),
        ({"table": "nothing"}, "no table 'nothing' in database shop"),
        ({"watermark": "updatd_at"}, "no column 'updatd_at' in .*did you mean 'updated_at'"),
        ({"watermark": "amount"}, "watermark='amount' of .* is double; name a column of times or whole numbers"),
        ({"watermark": "id", "overlap": "5m"}, "overlap= is a duration, and watermark='id' of .* is int64"),
        ({"id": "amount"}, "id='amount' of .* is double"),
        ({"watermark": None}, "watermark: is missing"),
        ({"zone": "Mars"}, "zone: 'Mars' is no zone"),
        ({"table": "a.b.c"}, "table: 'a.b.c' is no table of a database"),
        ({"url": "mysql://host/db"}, "is no address of a database that can be read"),
        ({"url": "postgresql://me:hunter2@host/db"}, "has a password"),
        ({"url": "postgresql://host/db?sslpassword=hunter2"}, "has a secret"),
        ({"overlap": "soon"}, "overlap: 'soon' is not a duration"),
    ):
        with pytest.raises(DefinitionError, match=said) as raised:
            shop.store.plan([FeatureView("v", entity=events.USER, source=shop.source(**more), features=["amount"])])
        assert "hunter2" not in str(raised.value)


def test_a_database_that_is_gone_or_slow_is_an_error_and_says_no_password(shop: Shop, tmp_path: Path) -> None:
    gone = Settings(home=tmp_path / "other", databases={"shop": "postgresql://me:hunter2@127.0.0.1:9/shop"})
    with pytest.raises(FeatureStoreError, match="the database shop cannot be reached") as raised:
        FeatureStore(settings=gone).plan([FeatureView("v", entity=events.USER, source=shop.source(), features=["amount"])])
    assert "hunter2" not in f"{raised.value} {raised.value.details}"
    shop.run("CREATE VIEW slow AS SELECT *, pg_sleep(60)::text AS waits FROM {}")
    shop.put(1, 1.0, 0)
    with FeatureStore(settings=Settings(home=tmp_path / "slow", databases={"shop": shop.address}, job_seconds=0.3)) as store:
        source = shop.source(table="slow")
        with pytest.raises(Timeout, match="took longer than the setting job_seconds"):
            database_copy.copy_table(store._runtime, source, lambda done, total: None, lambda table: None)


def test_a_connection_that_is_lost_is_an_error_and_the_next_copy_is_complete(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_copy, "PIECE_ROWS", 1)
    shop.run(
        "CREATE TABLE large AS SELECT g AS id, g AS user_id, now() AS at, repeat('x', 20000) AS text FROM generate_series(1, 2000) AS g"
    )
    source = Source("large", url="shop", table="large", timestamp="at", watermark="id")
    pieces: list[int] = []

    def end_connections(done: int, total: int) -> None:
        pieces.append(done)
        if done == 1:
            shop.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'featurestore'")

    with pytest.raises(NotReady, match="could not be read to the end; run the same again, which continues"):
        copy(shop, source, end_connections)
    monkeypatch.undo()
    copy(shop, source)
    found = shop.store.catalog.load_table(source.kept_table).scan(selected_fields=("id",)).to_arrow().column("id").to_pylist()
    assert sorted(found) == list(range(1, 2001))
