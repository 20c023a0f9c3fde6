"""Exit statuses: 0 for success, 1 for an error with a message and no traceback, 2 for wrong usage."""

import json
import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from featurestore.cli.output import PIPE_WIDTH
from tests.cli.running import process, run


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        pytest.param(["show", "views"], 0, "", marks=pytest.mark.slow),
        pytest.param(["show", "views", "nothing"], 1, "no view 'nothing'", marks=pytest.mark.slow),
        (["nonsense"], 2, "no command 'nonsense'"),
    ],
)
def test_statuses(filled: Path, arguments: list[str], status: int, said: str) -> None:
    done = process(*arguments, folder=filled)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    if status:
        assert done.stdout == ""


def test_refusals_say_why(example: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        _check_refusals(port)


def _check_refusals(taken: str) -> None:
    for arguments, said in (
        (["plan", "nowhere"], "no folder or file of definitions 'nowhere'"),
        (["rebuild", "x-1"], "no training set 'x-1'"),
        (["serve", "--host", "256.0.0.1"], "without credentials, anyone who can reach 256.0.0.1"),
        (["serve", "--host", "127.0.0.1", "--port", taken], "cannot listen"),
    ):
        done = run(*arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        assert said in done.stderr


def test_errors_as_json(example: Path) -> None:
    done = run("show", "views", "nothing", "--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert json.loads(done.stderr)["error"]["details"]["known"] == ["customer_orders", "customer_profile"]


def test_wrong_settings(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_THREADS", "many")
    done = run("show", "views")
    assert done.exit_code == 1
    assert "threads" in done.stderr


def test_what_is_no_terminal_gets_plain_text(example: Path) -> None:
    done = run("show", "views")
    assert all(len(line) <= PIPE_WIDTH for line in done.stdout.splitlines()), "not cut, and not endless"
    assert "\x1b" not in done.stdout


def test_a_broken_view_ends_with_1_when_the_others_are_done(fresh: Path) -> None:
    run("apply")
    orders = pq.read_table("data/orders.parquet")
    pq.write_table(orders.rename_columns(["sum" if name == "amount" else name for name in orders.schema.names]), "data/orders.parquet")
    done = run("materialize")
    assert done.exit_code == 1
    assert "customer_profile" in done.stdout
    assert "customer_orders" in done.stderr
    assert "amount" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_catalog_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURESTORE_CATALOG", '{"type": "sql", "uri": "postgresql+psycopg2://me:secret@127.0.0.1:1/none"}')
    done = run("show", "views", "--home", str(tmp_path))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be opened" in done.stderr
    assert "check the settings catalog, warehouse and home" in done.stderr
    assert "secret" not in done.stderr
