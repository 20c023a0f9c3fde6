"""The image without an engine: the steps of the Dockerfile in folders of a test, and the container's command with its variables alone."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from uv import find_uv_bin

from tests.deployment.programs import ROOT
from tests.online.redis.redis_server import free_port

pytestmark = pytest.mark.slow


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, with lines that go on joined and comments left out."""
    text = "\n".join(line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for line in lines if line.strip() for word, _, rest in [line.partition(" ")]]


def copy_into(source: Path, arguments: str) -> None:
    """Do what COPY does with files of the checkout."""
    *names, target = arguments.split()
    for name in names:
        goal = source / target / name if target == "./" else source / target
        goal.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, goal, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, goal)


def test_the_image_is_built_and_serves(tmp_path: Path) -> None:
    base, source, built, data = (tmp_path / name for name in ("base", "src", "built", "data"))
    for folder in (source, data):
        folder.mkdir()
    # The Python of the image, into which its steps install uv.
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--seed", "--python", sys.executable, str(base)], check=True, timeout=120)
    index = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "HTTP", "SSL_", "REQUESTS_"))}
    # Compiling takes a minute and shows nothing; what is kept from other installations is used.
    outside = {**index, "HOME": str(Path.home()), "PATH": f"{base / 'bin'}:/usr/bin:/bin"}
    stages = 0
    variables: dict[str, str] = {}
    command: list[str] = []
    health: list[str] = []
    for word, rest in instructions():
        if word == "FROM":
            stages += 1
        elif word == "RUN" and stages == 1:
            step = rest.replace("/opt/featurestore", str(built)).replace("--no-cache-dir", "").replace("--no-cache", "")
            done = subprocess.run(
                ["/bin/bash", "-ec", step], cwd=source, env=outside, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stderr
        elif word == "COPY" and stages == 1:
            copy_into(source, rest)
        elif word == "ENV" and stages == 2:
            variables |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "CMD" and stages == 2:
            command = json.loads(rest)
        elif word == "HEALTHCHECK":
            health = json.loads(re.sub(r"^.*?CMD ", "", rest))
    assert (stages, command) == (2, ["featurestore", "serve"])
    shutil.rmtree(source)
    port = str(free_port())
    path = variables.pop("PATH").replace("/opt/featurestore", str(built)).replace("$PATH", "/usr/bin:/bin")
    inside = {**variables, "PATH": path, "HOME": str(data), "FEATURESTORE_HOME": str(data), "FEATURESTORE_PORT": port}
    refused = subprocess.run(command_in(built, command), cwd=data, env=inside, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0
    assert "without credentials" in refused.stderr
    with subprocess.Popen(
        command_in(built, command), cwd=data, env={**inside, "FEATURESTORE_TOKEN": "secret-of-the-test"}, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            server.stdout.readline()
            url = f"http://127.0.0.1:{port}"
            assert httpx.get(f"{url}/readyz", timeout=30).is_success
            assert httpx.get(f"{url}/v1/views", timeout=30).status_code == 401
            known = {"Authorization": "Bearer secret-of-the-test"}
            assert httpx.get(f"{url}/v1/views", headers=known, timeout=30).json() == []
            probe = [part.replace(":8080", f":{port}") for part in health]
            subprocess.run(command_in(built, probe), cwd=data, env=inside, check=True, timeout=30)
        finally:
            server.terminate()
            assert server.wait(30) == 0


def command_in(built: Path, command: list[str]) -> list[str]:
    """A command whose program is looked for in the environment of the image."""
    return [str(built / "bin" / command[0]), *command[1:]]
