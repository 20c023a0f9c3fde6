"""What the deployment files set are settings that exist and can be read."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from featurestore.settings import load_settings

ROOT = Path(__file__).parent.parent


def compose_environment() -> dict[str, str]:
    """The server's variables in docker-compose.yml, with the defaults of its `${NAME:-default}` filled in."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
    environment = yaml.safe_load(text)["services"]["server"]["environment"]
    return {name: str(value) for name, value in environment.items() if name.startswith("FEATURESTORE_")}


def image_environment() -> dict[str, str]:
    return dict(re.findall(r"(FEATURESTORE_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))


@pytest.mark.parametrize("read", [compose_environment, image_environment], ids=["docker-compose.yml", "Dockerfile"])
def test_variables_are_settings(read: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    environment = read()
    assert environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert {f"FEATURESTORE_{name.upper()}" for name in settings.model_fields_set} == set(environment)


def test_compose_keeps_nothing_in_the_server_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**image_environment(), **compose_environment()}.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    properties = settings.catalog_properties()
    assert properties["uri"].startswith("postgresql")
    assert properties["warehouse"].startswith("s3://")
    assert settings.online_url().startswith("redis://")
