"""Every command that works on a store works on a server, by `--url` or FEATURESTORE_URL, and prints the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featurestore import FeatureStore, Settings
from featurestore.cli.main import SECTIONS, main
from featurestore.settings import URL_VARIABLE
from tests import shop
from tests.cli.running import as_json, run

pytestmark = pytest.mark.slow

LOCAL = {"init", "demo", "serve"}
TRAIN = ["training-set", "churn", "--spine", "data/observations.parquet", "--timestamp", "observed_at", "--label", "churned"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The example project, and a server of it."""
    folder = tmp_path_factory.mktemp("served") / "shop"
    with pytest.MonkeyPatch.context() as patch:
        assert run("init", str(folder)).exit_code == 0
        patch.chdir(folder)
        with FeatureStore(settings=Settings(home=folder / ".featurestore", source_folders=(folder / "data",))) as store:
            store.apply("definitions")
            with shop.serving(store, jobs=True) as url:
                yield folder, url


@pytest.fixture
def url(served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A folder with definitions and data and no store: what is answered comes from the server."""
    folder, address = served
    for name in ("definitions", "data"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(tmp_path)
    return address


def test_every_command_but_the_local_ones_takes_a_url() -> None:
    for name in (name for commands in SECTIONS.values() for name in commands):
        command: Any = main.get_command(main.make_context("featurestore", ["--help-not"], resilient_parsing=True), name)
        assert ("url" in {parameter.name for parameter in command.params}) == (name not in LOCAL), name


def test_a_day_of_work_on_a_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, url)
    assert as_json("plan")["changed"] is False
    assert as_json("apply")["changed"] is False
    assert {run["view"] for run in as_json("materialize")} == {"customer_orders", "customer_profile"}
    made = as_json(*TRAIN)
    assert made["rows"] == 450
    assert as_json("rebuild", made["id"])["digest"] == made["digest"]
    assert as_json("diff", made["id"], made["id"])["rows"]["common"] == 450
    body = as_json("online", "churn", "customer_id=13", "--request", "basket=80")
    assert body["status"]["customer_profile"] == ["PRESENT"]
    for what in ("entities", "sources", "views", "services", "training-sets"):
        assert as_json("show", what), what
    assert as_json("show", "models") == []
    assert as_json("show", "views", "customer_orders")["name"] == "customer_orders"
    assert as_json("show", "training-sets", made["id"])["statistics"]["rows"] == 450
    assert as_json("maintain", "--dry-run")
    assert {table["rows"] for table in as_json("publish")} == {0}, "it is online already"
    assert all(table["same"] and table["rows"] for table in as_json("verify-online"))
    assert as_json("remove", "churn", "--service", "--dry-run")["name"] == "churn"
    assert as_json("doctor")["healthy"] is True
    assert as_json("doctor", "--repair")["healthy"] is True
    assert not Path(".featurestore").exists(), "a command on a server made a store here"


def test_the_option_goes_before_the_variable_and_the_command(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL_VARIABLE, "http://127.0.0.1:1")
    assert run("show", "views").exit_code == 1
    assert run("--url", url, "show", "views").exit_code == 0
    assert run("show", "views", "--url", url).exit_code == 0


def test_a_server_that_is_not_there_is_named(url: str) -> None:
    refused = run("show", "views", "--url", "http://127.0.0.1:1")
    assert refused.exit_code == 1
    assert "http://127.0.0.1:1 cannot be reached" in refused.stderr
    examined = run("doctor", "--url", "http://127.0.0.1:1")
    assert examined.exit_code == 1
    assert "cannot be reached" in examined.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["models:/churn/1", "--spine", "data/observations.parquet"], "add --at online"),
        (["runs:/abc/model", "--spine", "data/observations.parquet", "--at", "online"], "write models:/name/1"),
        (["models:/churn/1", "--spine", "iceberg:a.b", "--at", "online"], "a spine in files"),
    ],
)
def test_scoring_says_what_a_server_cannot_do(url: str, arguments: list[str], message: str) -> None:
    refused = run("score", *arguments, "--url", url)
    assert refused.exit_code == 1
    assert message in refused.stderr
