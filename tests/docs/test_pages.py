"""Every block of the README and of the pages under docs/ does what the page says."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import opened

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# MLflow warns about its own code when it is imported and when it makes its database.
NOISY = ("README.md", "docs/models.md")
SLOW = (*NOISY, "docs/cli.md", "docs/http.md", "docs/settings.md", "docs/testing.md")


def parameters() -> Iterator[Any]:
    """Every page with its name and what pytest should know about it."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        noisy = [pytest.mark.filterwarnings("ignore")] if name in NOISY else []
        yield pytest.param(page, id=name, marks=[*noisy, *([pytest.mark.slow] if name in SLOW else [])])


@pytest.mark.parametrize("page", list(parameters()))
def test_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.parent == ROOT / "docs":
        shutil.copytree(ROOT / "docs" / "shop", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with opened(page) as blocks:
        for example in blocks.examples():
            example.evaluate()
