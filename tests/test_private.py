"""Files of a store are accessible to their owner only, whatever the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from featurestore import FeatureStore, Settings, private
from featurestore.server.jobs.jobs import Jobs
from featurestore.server.jobs.worker import jobs_path
from tests import shop
from tests.cli.running import as_json, run


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Nothing is kept from others by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def loose(folder: Path) -> list[str]:
    """What others may get at, with its mode."""
    paths = [folder, *folder.rglob("*")]
    return [f"{stat.filemode(path.lstat().st_mode)} {path}" for path in paths if path.lstat().st_mode & 0o077 and not path.is_symlink()]


@pytest.mark.slow
def test_everything_in_a_home_folder_is_its_owners(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    with shop.open_shop(home) as store:
        store.training_set("churn", shop.spine(), timestamp="asked_at", label="churned")
        store.online_features("plain", [{"customer_id": 1}])
        store.maintain()
        jobs = Jobs(jobs_path(store.settings))
        jobs.start("x", "materialization", {"names": None})
        jobs.cancel("x")
        jobs.close()
    names = {path.name for path in home.rglob("*")}
    assert {"catalog.db", "data.mdb", "queue.db", "job.json", "warehouse", "spill", "lock"} <= names
    assert any(name.endswith(".metadata.json") for name in names)
    assert any(name.endswith(".parquet") for name in names)
    assert loose(tmp_path / "deep") == []


@pytest.mark.slow
def test_the_command_line_keeps_to_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("init", str(tmp_path / "shop")).exit_code == 0
    monkeypatch.chdir(tmp_path / "shop")
    assert run("apply").exit_code == 0
    assert run("materialize").exit_code == 0
    assert loose(tmp_path / "shop" / ".featurestore") == []


def test_a_home_that_others_can_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".featurestore").mkdir(0o755)
    home = next(finding for finding in as_json("doctor")["findings"] if finding["what"] == "home")
    assert home["state"] == "note"
    assert home["todo"].startswith("chmod -R go-rwx ")
    (tmp_path / ".featurestore").chmod(0o700)
    assert next(finding for finding in as_json("doctor")["findings"] if finding["what"] == "home")["state"] == "ok"


def test_in_a_home_that_is_open_what_is_new_is_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(0o777)
    with FeatureStore(home=home) as store:
        store.apply(shop.DEFINITIONS[:0])
        shop.add(store, "shop.orders", shop.order_rows())
    assert [line.split()[1] for line in loose(home)] == [str(home)]


def test_a_warehouse_elsewhere_keeps_its_own_rules(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    with FeatureStore(settings=Settings(home=tmp_path / "home", warehouse=str(tmp_path / "lake"))) as store:
        shop.add(store, "shop.orders", shop.order_rows())
    assert any(path.stat().st_mode & 0o044 for path in (tmp_path / "lake").rglob("*.parquet"))
    assert loose(tmp_path / "home") == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(NotADirectoryError):
        private.make_folder(tmp_path / "x" / "y")
