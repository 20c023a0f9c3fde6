"""The picture of a training set's distributions: whole for any statistics, and with every text escaped."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from featurestore.models.stamping.distributions import MOST, draw_distributions
from tests.models.vendor import VENDOR_WARNINGS

pytestmark = VENDOR_WARNINGS

HISTOGRAM = {"edges": [0.0, 1.0, 2.0], "counts": [3, 1]}
COLUMNS: dict[str, dict[str, Any]] = {
    "number": {"type": "double", "count": 4, "nulls": 1, "distinct": 4, "histogram": HISTOGRAM, "top": [[0.5, 3]]},
    "<b>&": {"type": "string", "count": 2, "nulls": 0, "distinct": 2, "top": [["</svg><script>", 1], ["x" * 100, 1]]},
    "empty": {"type": "string", "count": 0, "nulls": 5, "distinct": 0, "top": []},
    "at": {"type": "timestamp", "count": 1, "nulls": 0, "histogram": {"edges": ["2026-01-01T00:00:00Z"] * 2, "counts": [1]}, "top": []},
}


def drawn(columns: dict[str, Any], label: str | None) -> list[str]:
    """The texts of the picture, in order."""
    root = ET.fromstring(draw_distributions("a<b", {"rows": 5, "columns": columns}, label))
    return [element.text or "" for element in root.iter() if element.tag.endswith("}text")]


def test_every_column_is_drawn_with_the_label_first() -> None:
    texts = drawn(COLUMNS, "<b>&")
    assert texts[:3] == ["a<b", "5 rows", "<b>& (label)"]
    assert "20.0% NULL" in texts
    assert "100.0% NULL" in texts
    assert "2026-01-01" in texts


@pytest.mark.parametrize("columns", [{}, {f"c{number}": COLUMNS["number"] for number in range(MOST + 7)}], ids=["none", "many"])
def test_it_is_bounded(columns: dict[str, Any]) -> None:
    texts = drawn(columns, None)
    assert len(texts) <= 2 + 5 * MOST
    assert ("7 columns left out" in texts[1]) == bool(columns)
