"""The layers in docs/architecture.md are those that `make imports` checks, and contain every package."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
SKETCHES = [
    [[name.strip() for name in re.split(r"  +", line)[0].split("|")] for line in block.splitlines()]
    for block in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
]


def floors(contract: str) -> list[list[str]]:
    (layers,) = (entry["layers"] for entry in CONTRACTS if entry["name"] == contract)
    return [[name.strip().removeprefix("featurestore.") for name in layer.split("|")] for layer in layers]


def test_the_floors() -> None:
    whole, pipelines, models = SKETCHES
    assert whole == floors("imports go down the floors only")
    assert pipelines == floors("inside the pipelines too, imports go down only")
    assert models == floors("inside the models too, imports go down only")


def test_every_package_stands_on_a_floor() -> None:
    named = {name for floor in SKETCHES[0] for name in floor}
    there = {path.stem for path in (ROOT / "featurestore").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - named == {"__init__"}
    assert named <= there


def test_each_library_has_its_place() -> None:
    for libraries, package in re.findall(r"^\| (`.*`) \| `([\w.]+)` \|$", PAGE, re.MULTILINE):
        for library in re.findall(r"`(\w+)`", libraries):
            (contract,) = (
                entry
                for entry in CONTRACTS
                if library in entry.get("forbidden_modules", []) and entry["source_modules"] == ["featurestore"]
            )
            assert f"featurestore.{package}.** -> {library}" in contract["ignore_imports"]
