"""What goes wrong beyond one machine: a database that restarts, a bucket that is gone, a catalog that lies, two catalogs in one place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog, load_catalog
from sqlalchemy import event, text

from featurestore import FeatureStore, Settings
from featurestore.errors import CommitConflict, Conflict, FeatureStoreError, NotReady
from featurestore.lakehouse import damage, maintenance, tables, writes
from featurestore.lakehouse.catalog import open_catalog
from featurestore.lakehouse.table import Table
from featurestore.records.leases import Leases
from tests import s3
from tests.faults import life
from tests.lakehouse import postgres
from tests.lakehouse.data import EVENTS, events, reader
from tests.worlds import load_source

ROWS = events((1, "2026-01-01", "a"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before_cursor_execute", "commit"])
def test_postgres_restarts_in_the_middle_of_a_commit(tmp_path: Path, moment: str) -> None:
    with postgres.own_server() as server:
        settings = Settings(home=tmp_path / "home", catalog={"type": "sql", "uri": server.address})
        with FeatureStore(settings=settings) as store:
            life.begin(store)
            store.apply(life.declare())
            store.materialize("last", end="2026-01-03")
            with restarting(store.catalog, server, moment) as restarts:
                store.materialize("last", end="2026-01-05")
            assert len(restarts) == 1
            times = store.catalog.load_table("features.last_v1").scan().to_arrow()["feature_timestamp"].to_pylist()
            assert sorted(times) == [at for at in life.events(0, 60)["at"].to_pylist() if at <= datetime(2026, 1, 5, tzinfo=UTC)]
            files = list((tmp_path / "home/warehouse/features/last_v1/data").rglob("*.parquet"))
            assert len(files) == 2, "nothing was written twice"


@contextmanager
def restarting(catalog: Catalog, server: postgres.OwnServer, moment: str) -> Iterator[list[str]]:
    """The server restarts once, when the first table is about to change, or that change about to be committed."""
    engine, restarts, changing = catalog.engine, list[str](), list[str]()  # type: ignore[attr-defined]

    def restart(*arguments: Any) -> None:
        changing.extend(statement for statement in arguments if isinstance(statement, str) and statement.startswith("UPDATE"))
        if changing and not restarts:
            restarts.append(changing[0])
            server.stop()
            server.start()

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE"):
            changing.append(statement)

    listeners = [(moment, restart), *([("before_cursor_execute", note)] if moment == "commit" else [])]
    for name, listener in listeners:
        event.listen(engine, name, listener)
    try:
        yield restarts
    finally:
        for name, listener in listeners:
            event.remove(engine, name, listener)


@pytest.mark.slow
def test_a_bucket_that_is_gone_loses_no_table(tmp_path: Path) -> None:
    with s3.server() as endpoint:
        settings = Settings(home=tmp_path / "home", warehouse="s3://lake/gone", catalog=s3.connection(endpoint, tmp_path))
        with FeatureStore(settings=settings) as store:
            life.begin(store)
            store.apply(life.declare())
            store.materialize("last", end="2026-01-05")
            store.training_set("service", life.spine(), "t", name="kept")
            verbs: dict[str, Callable[[], object]] = {
                "materialize": lambda: store.materialize("last", end=life.END),
                "training set": lambda: store.training_set("service", life.spine(), "t"),
                "repair": store.repair,
                "maintain": lambda: store.maintain(older_than=timedelta(0)),
                "apply": lambda: store.apply(life.declare("3d")),
            }
            table = tables.load(store.catalog, "features.last_v1")
            with s3.without_bucket("lake"):
                for name, verb in verbs.items():
                    with pytest.raises(FeatureStoreError) as caught:
                        verb()
                    assert isinstance(caught.value, NotReady), (name, caught.value)
                    assert "the setting warehouse" in caught.value.message, (name, caught.value)
                # A handle of before would find every file missing.
                with pytest.raises(NotReady, match="no bucket lake; create or restore it"):
                    damage.find_damage(table)
                assert store.check(write=True)["warehouse"] is not None
            assert store.repair() == []
            store.materialize("last", end=life.END)
            assert len(store.catalog.load_table("features.last_v1").scan().to_arrow()) == 60


def test_a_catalog_that_goes_back_is_noticed(tmp_path: Path) -> None:
    with open_catalog(Settings(home=tmp_path)) as catalog:
        table = tables.create(catalog, "features.f", EVENTS)
        addresses = [table.metadata_location]
        writes.append(table, reader(ROWS), summary={})
        addresses.append(table.metadata_location)
        tables.set_properties(table, {"a": "b"})
        newest = table.metadata_location
        for address in addresses:
            point_to(catalog, address)
            with pytest.raises(NotReady, match=r"older state of features\.f than before .*; nothing was written. Run the same again"):
                tables.load(catalog, "features.f")
            with pytest.raises(FeatureStoreError):
                writes.append(table, reader(ROWS), summary={})
        point_to(catalog, newest)
        assert tables.load(catalog, "features.f").snapshot_id == table.snapshot_id
        writes.append(table, reader(ROWS), summary={})
        assert len(tables.load(catalog, "features.f").snapshot_ids) == 2
        # Another process cannot know, and a table that was made again is another one.
        point_to(catalog, addresses[0])
        with open_catalog(Settings(home=tmp_path)) as other:
            assert tables.load(other, "features.f").snapshot_id is None
        catalog.drop_table("features.f")
        assert tables.create(catalog, "features.f", EVENTS).snapshot_id is None


def point_to(catalog: Catalog, address: str) -> None:
    """Let the catalog say that this is the table's newest metadata file."""
    with catalog.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(text("UPDATE iceberg_tables SET metadata_location = :address"), {"address": address})


def test_the_files_of_another_catalog_in_the_same_database_stay(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    uri = f"sqlite:///{tmp_path}/home/catalog.db"
    with open_catalog(Settings(home=tmp_path / "home")) as catalog:
        own = tables.create(catalog, "features.f", EVENTS)
        writes.append(own, reader(ROWS), summary={})
        other = load_catalog("other", type="sql", uri=uri, warehouse=str(tmp_path / "home/warehouse"))
        other.create_namespace("features")
        stranger = other.create_table("features.f", EVENTS)
        stranger.append(ROWS)
        assert tables.list_tables(catalog, "features") == ["f"], "each has its own"
        with pytest.raises(
            Conflict, match=r"other\.features\.f and features\.f share the folder .*; give each catalog a warehouse of its own"
        ):
            maintenance.remove_orphan_files(own, soon)
        assert other.load_table("features.f").scan().to_arrow() == ROWS
        with pytest.raises(CommitConflict):
            writes.append(stale(catalog, own), reader(ROWS), summary={})
        other.close()


def test_two_stores_with_different_catalog_names_share_a_database_and_nothing_else(tmp_path: Path) -> None:
    """Their tables have the same names, and so have their leases."""

    def opened(name: str) -> FeatureStore:
        catalog = {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "name": name}
        return FeatureStore(settings=Settings(home=tmp_path / name, catalog=catalog))

    with opened("first") as first, opened("second") as second:
        for store, rows in ((first, 60), (second, 20)):
            load_source(store, "raw.s", life.events(0, rows))
            store.apply(life.declare())
        with Leases(first.backend.runtime, 0) as held:
            held.take("features.last_v1")
            second.materialize(wait=timedelta(0))
        assert first.catalog.load_table("features.last_v1").current_snapshot() is None
        first.materialize()
        assert [len(store.catalog.load_table("features.last_v1").scan().to_arrow()) for store in (first, second)] == [60, 20]
        assert all(table.note is None for table in second.maintain(older_than=timedelta(0)))
        second.remove_service("service")
        second.remove_view("last")
        assert len(first.online_features("service", [{"k": 0}]).rows) == 1
        assert first.verify_online("last")[0].missing == 0
        assert [view.name for view in second.views()] == ["counts"]


def stale(catalog: Catalog, table: Table) -> Table:
    """A handle of a state that another commit has replaced."""
    handle = tables.load(catalog, table.name)
    writes.append(table, reader(ROWS), summary={})
    return handle
