"""The systemd units: accepted by systemd, and with settings and commands that exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from featurestore.settings import Settings
from tests.deployment.programs import ROOT, run

UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
PROGRAM = "/opt/featurestore/bin/featurestore"


def test_systemd_accepts_them(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    for unit in UNITS:
        # It asks whether the program is there.
        (tmp_path / unit.name).write_text(unit.read_text().replace(PROGRAM, shutil.which("true") or PROGRAM))
    checked = subprocess.run(
        [program, "verify", *map(str, sorted(tmp_path.iterdir()))], capture_output=True, text=True, timeout=60, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: str(unit.name))
def test_what_they_start_exists(unit: Path) -> None:
    text = unit.read_text()
    (command,) = re.findall(rf"^ExecStart={PROGRAM} (.*)$", text, flags=re.MULTILINE)
    name, *options = command.split()
    told = run("featurestore", name, "--help")
    assert [option for option in options if option.startswith("-") and option not in told] == []
    variables = re.findall(r"FEATURESTORE_(\w+)=", "\n".join(line for line in text.splitlines() if line.startswith("Environment=")))
    assert variables
    assert [variable for variable in variables if variable.lower() not in Settings.model_fields] == []
