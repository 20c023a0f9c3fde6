"""Settings: their sources and precedence, and refused values."""

from pathlib import Path

import pytest

from featurestore.errors import RequestError
from featurestore.settings import Settings, load_settings


def test_a_catalog_server_gets_the_warehouse_by_its_own_name() -> None:
    rest = {"type": "rest", "uri": "http://127.0.0.1:8181"}
    assert Settings(catalog=rest).catalog_properties() == rest
    assert Settings(catalog={**rest, "warehouse": "analytics"}).catalog_properties()["warehouse"] == "analytics"
    assert Settings(catalog={"uri": "https://127.0.0.1"}, warehouse="analytics").catalog_properties()["warehouse"] == "analytics"


def test_by_default_everything_lies_in_one_folder(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "ein #Ort?")
    assert settings.catalog_properties()["warehouse"].startswith(tmp_path.as_uri())
    assert settings.online_url() == f"lmdb://{tmp_path / 'ein #Ort?' / 'online'}"
    assert settings.host == "127.0.0.1"


def test_files_variables_and_arguments_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "featurestore.toml").write_text('port = 1\nthreads = 1\nmemory_limit = "1GB"\n')
    monkeypatch.setenv("FEATURESTORE_PORT", "2")
    monkeypatch.setenv("FEATURESTORE_THREADS", "2")
    settings = load_settings(port=3)
    assert (settings.port, settings.threads, settings.memory_limit) == (3, 2, "1GB")


@pytest.mark.parametrize(
    "text,variables,said",
    [
        ("prot = 1", {}, "did you mean 'port'"),
        ("port = 'x'", {}, "port"),
        ("port = ", {}, "cannot be read"),
        ("", {"FEATURESTORE_HOEM": "x"}, "did you mean 'FEATURESTORE_HOME'"),
        ("", {"FEATURESTORE_PORT": "-1"}, "port"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, variables: dict[str, str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "featurestore.toml").write_text(text)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RequestError, match=said):
        load_settings()
