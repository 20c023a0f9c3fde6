"""The page about settings agrees with `Settings`, and no page names an unknown variable."""

import re
from pathlib import Path
from typing import Any

from featurestore.settings import URL_VARIABLE, Settings

ROOT = Path(__file__).parent.parent.parent


def expected_rows() -> list[str]:
    """The table as the code has it."""
    return [
        f"| `{name}` | {_default_text(field.get_default(call_default_factory=True))} | {field.description} |" for name, field in _fields()
    ]


def _fields() -> list[tuple[str, Any]]:
    return list(Settings.model_fields.items())


def _default_text(default: Any) -> str:
    return "" if default in (None, {}) else f"`{default}`"


def test_the_page_has_every_setting_in_order_with_its_default_and_its_words() -> None:
    text = (ROOT / "docs" / "settings.md").read_text().partition("\n## ")[0]
    assert re.findall(r"^\| `.*$", text, flags=re.MULTILINE) == expected_rows()


def test_variables_named_anywhere_exist() -> None:
    known = {f"FEATURESTORE_{name.upper()}" for name in Settings.model_fields} | {URL_VARIABLE}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        assert set(re.findall(r"FEATURESTORE_[A-Z_]+[A-Z]", page.read_text())) <= known, page
