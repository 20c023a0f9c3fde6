"""Every block of the README and of the pages under docs/ does what the page says."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import OPTIONAL, open_page

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# These warn about their own code: MLflow when it is imported and when it makes its database, the readers when they start.
NOISY = (
    "README.md",
    "docs/audit.md",
    "docs/from-databricks.md",
    "docs/lookups.md",
    "docs/models.md",
    "docs/predictions.md",
    "docs/traffic.md",
    "docs/quickstart.md",
    "docs/reading.md",
    "docs/scoring.md",
    "docs/sharing.md",
)
# Whoever runs tests does not tell anybody, and MLflow does not look up where the host of a webhook is.
QUIET = ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS")


def parameters() -> Iterator[Any]:
    """Every page with its name and what pytest should know about it."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        noisy = [pytest.mark.filterwarnings("ignore")] if name in NOISY else []
        yield pytest.param(page, id=name, marks=noisy)


@pytest.mark.slow
@pytest.mark.parametrize("page", list(parameters()))
def test_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.parent == ROOT / "docs":
        shutil.copytree(ROOT / "docs" / "shop", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in QUIET:
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with open_page(page) as blocks:
        for example in blocks.examples():
            example.evaluate()
        if blocks.missing:
            expected = " ".join(repr(OPTIONAL[name]) for name in blocks.missing)
            pytest.skip(f"all ran but blocks that could not import {', '.join(map(repr, blocks.missing))}: pip install {expected}")
