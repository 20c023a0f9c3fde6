"""The image and the compose file: their settings exist, their downloads are pinned by digest, and they have no passwords."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from featurestore.settings import load_settings
from tests.deployment.programs import ROOT, run

DIGEST = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
REQUIRED = re.compile(r"\$\{(\w+):\?[^}]+\}")
"""A variable that docker compose asks for: it starts nothing without it."""
SECRETS = ("PASSWORD", "TOKEN", "SECRET", "ACCESS_KEY", "AUTH")


def compose() -> dict[str, Any]:
    """docker-compose.yml as it stands."""
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


def compose_environment() -> dict[str, str]:
    """The server's variables in docker-compose.yml, with something for each `${NAME:?...}` and the default of each `${NAME:-default}`."""
    environment = compose()["services"]["server"]["environment"]
    filled = {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", REQUIRED.sub("abc123", str(value))) for name, value in environment.items()}
    return {name: value for name, value in filled.items() if name.startswith("FEATURESTORE_")}


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


def test_compose_accepts_the_file(tmp_path: Path) -> None:
    filled = tmp_path / "filled.env"
    filled.write_text((ROOT / ".env.example").read_text().replace("=\n", "=abc123\n"))
    run("docker-compose", "--env-file", str(filled), "config", "--quiet")
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    with pytest.raises(subprocess.CalledProcessError) as refused:
        run("docker-compose", "--env-file", "/dev/null", "config", "--quiet")
    assert "set it in .env" in refused.value.stderr


def test_the_image_has_no_findings() -> None:
    run("hadolint", "Dockerfile")


def test_images_are_pinned_by_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    images = [service["image"] for service in compose()["services"].values() if "build" not in service]
    assert len(bases) == 2
    assert len(images) == 3
    assert [image for image in [*bases, *images] if not DIGEST.fullmatch(image)] == []


def test_compose_has_no_password_of_its_own() -> None:
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if any(word in variable for word in SECRETS):
                assert REQUIRED.sub("", str(value)).strip('",') == "", f"{name}: {variable} has a value of its own"
    text = (ROOT / "docker-compose.yml").read_text()
    for variable in set(re.findall(r"\$\{(\w+)", text)):
        if any(word in variable for word in SECRETS):
            assert set(re.findall(rf"\$\{{{variable}(\S\S)", text)) == {":?"}, f"{variable} has a default"
    assert re.findall(r"://[^/@\s]*:(?!\$\{\w+:\?)[^/@\s]+@", text) == []


def test_every_password_that_compose_asks_for_is_in_the_example() -> None:
    asked = set(REQUIRED.findall((ROOT / "docker-compose.yml").read_text()))
    offered = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), flags=re.MULTILINE))
    assert set(offered) == asked
    assert set(offered.values()) == {""}
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()


def test_what_holds_data_is_reached_from_inside_only() -> None:
    services, networks = compose()["services"], compose()["networks"]
    assert networks["inside"]["internal"] is True
    for name in ("postgres", "redis", "s3"):
        assert services[name]["networks"] == ["inside"]
        assert "ports" not in services[name]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_valkey_asks_for_a_password() -> None:
    (_, _, script) = compose()["services"]["redis"]["command"]
    assert "requirepass $$VALKEY_PASSWORD" in script


def test_every_requirement_has_hashes_and_none_an_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 100
    assert [entry.splitlines()[0] for entry in entries if not re.match(r"[a-z0-9._-]+==\S+", entry)] == []
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"\w+://\S*|--(?!hash=sha256:)\S+", text) == []


def test_hashes_are_held_against_what_is_installed() -> None:
    makefile, dockerfile = (ROOT / "Makefile").read_text(), (ROOT / "Dockerfile").read_text()
    assert re.search(r"uv pip sync .*--require-hashes", makefile)
    for text in (makefile, dockerfile):
        assert re.search(r"pip install .*--require-hashes --requirement \S*uv\.lock", text)
    assert "--constraint requirements.lock --build-constraint requirements.lock" in dockerfile
    assert "--generate-hashes" in makefile
