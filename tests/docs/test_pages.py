"""Every block of the README and of the pages under docs/ does what the page says."""

import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import opened

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# MLflow warns about its own code when it is imported and when it makes its database.
NOISY = ("README.md", "docs/models.md")


def _parameter(page: Path) -> "pytest.param":  # type: ignore[valid-type]
    name = str(page.relative_to(ROOT))
    return pytest.param(page, id=name, marks=[pytest.mark.filterwarnings("ignore")] if name in NOISY else [])


@pytest.mark.parametrize("page", [_parameter(page) for page in PAGES])
def test_blocks(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.parent == ROOT / "docs":
        shutil.copytree(ROOT / "docs" / "shop", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    with opened(page) as blocks:
        for example in blocks.examples():
            example.evaluate()
