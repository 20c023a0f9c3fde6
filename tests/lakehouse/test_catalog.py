"""Opening the catalog from settings: it is created if missing, and errors say what is wrong."""

import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from featurestore.errors import MissingExtra, NotReady
from featurestore.lakehouse import scans, tables, writes
from featurestore.lakehouse.catalog import open_catalog
from featurestore.lakehouse.table import Table
from featurestore.settings import Settings
from tests.granting import grant
from tests.lakehouse import postgres
from tests.lakehouse.data import EVENTS, by_id, events, files, reader

ROWS = events((1, "2026-01-01", "a"))


def test_default_is_one_folder(tmp_path: Path) -> None:
    with open_catalog(Settings(home=tmp_path / "not" / "there")) as catalog:
        tables.create(catalog, "features.a", EVENTS)
    assert (tmp_path / "not/there/catalog.db").is_file()
    assert (tmp_path / "not/there/warehouse/features/a/metadata").is_dir()


def test_what_one_process_makes_another_finds(settings: Settings) -> None:
    with open_catalog(settings) as first, open_catalog(settings) as second:
        tables.create(first, "features.a", EVENTS)
        assert tables.list_tables(second, "features") == ["a"]
        assert first.name == "featurestore"


@pytest.mark.parametrize("name", ["a b", "ümläut", "h#sh", "100%", "p%20q", "q?y", "w;z", "br[a]ck*", "qu'o\"te"])
@pytest.mark.parametrize("as_address", [False, True], ids=["path", "address"])
def test_any_folder_name_is_a_warehouse(tmp_path: Path, name: str, as_address: bool) -> None:
    warehouse = tmp_path / name
    location = warehouse.as_uri() if as_address else str(warehouse)
    with open_catalog(Settings(home=tmp_path / "home", warehouse=location)) as catalog:
        table = tables.create(catalog, "shop.orders", EVENTS, month_of="t")
        snapshot = writes.append(table, reader(ROWS), summary={})
        scanned = scans.scan_snapshot(grant(tables.load(catalog, "shop.orders")), snapshot)
        assert by_id(scanned) == ROWS.to_pylist()
        assert table.iceberg.scan().to_arrow().to_pylist() == ROWS.to_pylist()
    assert len(list((warehouse / "shop/orders/data").iterdir())) == len(files(table)) == 1


def test_tables_that_pyiceberg_made_under_an_encoded_address_are_read(tmp_path: Path) -> None:
    # pyiceberg takes the address as it stands: the folder is really called "a%20b".
    with open_catalog(Settings(home=tmp_path)) as catalog:
        catalog.create_namespace("shop")
        table = Table(catalog.create_table("shop.orders", EVENTS, location=(tmp_path / "a b").as_uri()))
        table.iceberg.append(ROWS)
        assert by_id(scans.scan_snapshot(grant(table), table.snapshot_id)) == ROWS.to_pylist()
    assert (tmp_path / "a%20b").is_dir()


def test_unreachable_says_what_to_check_and_keeps_the_password(tmp_path: Path) -> None:
    uri = "postgresql+psycopg2://me:secret@127.0.0.1:1/none"
    with pytest.raises(NotReady, match="check the settings catalog") as caught:
        open_catalog(Settings(home=tmp_path, catalog={"type": "sql", "uri": uri}))
    assert "127.0.0.1:1" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotReady, match="cannot be opened"):
        open_catalog(Settings(home=tmp_path / "file" / "home"))


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_a_postgres_that_hangs_is_told_in_time(tmp_path: Path, postgres_address: str, driver: str) -> None:
    pytest.importorskip(driver)
    with postgres.schema(postgres_address) as own:
        uri = make_url(own).set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
        settings = Settings(home=tmp_path / "home", catalog={"type": "sql", "uri": uri, "timeout-seconds": "0.5"})
        with open_catalog(settings) as catalog:
            tables.create(catalog, "features.a", EVENTS)
            # Whoever asks waits for this lock, behind a connection that lives.
            engine = create_engine(uri)
            with engine.begin() as other:
                other.execute(text("LOCK TABLE iceberg_tables IN ACCESS EXCLUSIVE MODE"))
                with pytest.raises(NotReady, match="cannot be reached; check that it runs, and the setting catalog") as caught:
                    tables.list_tables(catalog, "features")
                assert caught.value.details["reason"] == "it did not answer in 0.5 seconds"
            engine.dispose()
            assert tables.list_tables(catalog, "features") == ["a"]


@pytest.mark.parametrize(
    "driver, expected", [("psycopg2", r"'featurestore\[postgres\]'"), ("psycopg", "psycopg"), ("pg8000", "pg8000")], ids=str
)
def test_a_driver_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, expected: str) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    settings = Settings(home=tmp_path, catalog={"type": "sql", "uri": f"postgresql+{driver}://me@127.0.0.1:1/d"})
    with pytest.raises(MissingExtra, match=rf"needs the package {driver}, which is not installed here: pip install {expected}$"):
        open_catalog(settings)
