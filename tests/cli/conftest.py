"""Fixtures: the project that `init` writes, shared for reading, or one for each test that changes it."""

from pathlib import Path

import pytest

from tests.cli.running import run


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example project, applied and materialized; tests only look at it."""
    folder = tmp_path_factory.mktemp("example") / "shop"
    with pytest.MonkeyPatch.context() as patch:
        assert run("init", str(folder)).exit_code == 0
        patch.chdir(folder)
        assert run("apply").exit_code == 0
        assert run("materialize").exit_code == 0
    return folder


@pytest.fixture
def example(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The filled example as the working directory."""
    monkeypatch.chdir(filled)
    return filled


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A freshly written example as the working directory, nothing applied."""
    assert run("init", str(tmp_path / "shop")).exit_code == 0
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"
