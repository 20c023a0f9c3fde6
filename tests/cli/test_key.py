"""`featurestore key`: what it prints, and where."""

from pathlib import Path

import pytest

from tests.cli.running import as_json, run


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty store in the working folder."""
    monkeypatch.chdir(tmp_path)


def test_a_new_key_is_alone_on_stdout() -> None:
    done = run("key", "create", "nightly", "--group", "analysts", "--group", "oncall", "--expires", "1h")
    assert done.exit_code == 0
    (token,) = done.stdout.splitlines()
    assert token.startswith("fs_")
    assert token not in done.stderr
    assert "cannot be shown again" in done.stderr
    (listed,) = as_json("key", "list")
    assert (listed["name"], listed["groups"], listed["administrator"]) == ("nightly", ["analysts", "oncall"], False)
    assert token.split("_")[1] == listed["id"]
    assert "token" not in listed
    assert as_json("key", "revoke", listed["id"])["state"] == "revoked"
    assert "revoked" in run("key", "list").stdout


def test_there_are_none() -> None:
    assert "no API keys yet" in run("key", "list").stdout
    assert as_json("key", "list") == []
    assert as_json("key", "create", "her", "--admin")["key"]["administrator"] is True


def test_wrong_usage_and_refusals() -> None:
    for arguments in (["create"], ["revoke"], ["list", "her"], ["list", "--admin"], ["revoke", "x", "--group", "y"], ["make", "x"]):
        assert run("key", *arguments).exit_code == 2, arguments
    for arguments, said in ((["create", "her", "--expires", "soon"], "is not a duration"), (["revoke", "x"], "no API key 'x'")):
        done = run("key", *arguments)
        assert done.exit_code == 1
        assert said in done.stderr
