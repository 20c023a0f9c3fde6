"""`init` writes a working project, and overwrites nothing."""

from pathlib import Path

import pytest

from featurestore.cli.init import NEXT
from tests.cli.running import as_json, run

FILES = {
    "featurestore.toml",
    ".gitignore",
    "definitions/shop.py",
    "data/orders.parquet",
    "data/customers.parquet",
    "data/observations.parquet",
}


@pytest.mark.slow
def test_what_it_tells_to_do_next_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run("init", str(tmp_path / "demo"))
    assert told.exit_code == 0
    monkeypatch.chdir(tmp_path / "demo")
    for command, _ in NEXT:
        assert command in told.stdout
        if command != "featurestore serve":
            done = run(*command.split()[1:])
            assert (done.exit_code, done.stderr) == (0, ""), command


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "featurestore.toml").write_text("# mine\n")
    (tmp_path / "definitions").mkdir()
    told = as_json("init", str(tmp_path))
    assert told["kept"] == ["featurestore.toml"]
    assert set(told["written"]) == FILES - {"featurestore.toml"}
    assert (tmp_path / "featurestore.toml").read_text() == "# mine\n"
    again = run("init", str(tmp_path))
    assert again.exit_code == 0
    assert "0 files written" in again.stdout


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run("init", str(tmp_path / "file" / "x")).exit_code == 1


def test_the_settings_that_are_only_comments_are_settings(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (fresh / "featurestore.toml").read_text().splitlines()
    settings = [line.removeprefix("# ") for line in lines if " = " in line]
    assert len(settings) > 5
    kept = [line for line in settings if not line.startswith(("online", "warehouse", "catalog"))]
    (fresh / "featurestore.toml").write_text("\n".join(kept))
    assert run("plan").exit_code == 0
