"""`doctor` finds problems, and says how to fix them."""

from pathlib import Path

import pytest

from tests.cli.running import as_json, run


def test_all_is_well(example: Path) -> None:
    shown = run("doctor")
    assert shown.exit_code == 0
    assert "no problems found" in shown.stdout
    body = as_json("doctor")
    assert body["healthy"] is True
    assert {finding["what"] for finding in body["findings"]} == {
        *("versions", "settings", "home", "disk", "catalog", "warehouse", "online store", "files", "views", "definitions", "mlflow"),
    }


def test_what_is_to_be_done_next(fresh: Path) -> None:
    views = next(finding for finding in as_json("doctor")["findings"] if finding["what"] == "views")
    assert (views["state"], views["todo"]) == ("note", "featurestore apply")


@pytest.mark.parametrize(
    "variables, what",
    [
        ({"FEATURESTORE_PORT": "http"}, "settings"),
        ({"FEATURESTORE_PROT": "1"}, "settings"),
        ({"FEATURESTORE_ONLINE": "redis://user:pass@127.0.0.1:1/0"}, "online store"),
        ({"FEATURESTORE_CATALOG": '{"type": "rest", "uri": "http://127.0.0.1:1"}'}, "catalog"),
        ({"FEATURESTORE_HOME": "/proc/nowhere"}, "home"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], what: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = run("doctor")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert any(line.startswith("✗") and what in line for line in lines), done.stdout
    assert "pass" not in done.stdout.replace("password", "")


def test_wrong_definitions(fresh: Path) -> None:
    (fresh / "definitions" / "broken.py").write_text("1 / 0\n")
    done = run("doctor")
    assert done.exit_code == 1
    assert "ZeroDivisionError" in done.stdout
