"""A picture of the distributions of a training set's columns: one SVG file with a small histogram for each."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

ACROSS = 4
MOST = 200
"""Columns that are drawn; more would be a picture that nobody looks at."""
WIDTH, HEIGHT, GAP, MARGIN, HEAD = 230, 132, 18, 16, 44
BARS_TOP, BARS_HEIGHT = 26, 70
LETTERS = 30
INK, QUIET, BAR, FIRST = "#1c2733", "#5b6b7b", "#4c7fb0", "#b0703c"


def draw_distributions(title: str, statistics: Mapping[str, Any], label: str | None) -> str:
    """The SVG of the statistics of a training set: equally wide bins of numbers and times, the most frequent values of other columns.

    The label is drawn first, in another color. Every text is escaped.
    """
    columns = dict(statistics["columns"])
    names = sorted(columns, key=lambda name: name != label)
    shown = names[:MOST]
    rows = max(1, math.ceil(len(shown) / ACROSS))
    width = ACROSS * (WIDTH + GAP) - GAP + 2 * MARGIN
    height = HEAD + rows * (HEIGHT + GAP) - GAP + 2 * MARGIN
    left_out = f", {len(names) - MOST} columns left out" if len(names) > MOST else ""
    size = f"{statistics['rows']:,} rows{left_out}"
    panels = [
        _panel(name, columns[name], MARGIN + index % ACROSS * (WIDTH + GAP), HEAD + index // ACROSS * (HEIGHT + GAP), name == label)
        for index, name in enumerate(shown)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        f' font-family="system-ui, sans-serif" role="img" aria-label="Distributions">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>'
        f"{_text(title, MARGIN, 26, INK, 15)}{_text(size, width - MARGIN, 26, QUIET, 12, 'end')}"
        f"{''.join(panels)}</svg>\n"
    )


def _panel(name: str, column: Mapping[str, Any], x: int, y: int, is_label: bool) -> str:
    histogram, top = column.get("histogram"), column.get("top") or []
    if histogram and histogram["edges"]:
        counts, ends = histogram["counts"], (_short(histogram["edges"][0]), _short(histogram["edges"][-1]))
    else:
        counts = [count for _, count in top]
        distinct = column.get("distinct", 0)
        last = _short(top[-1][0]) if distinct == len(top) > 1 else f"{distinct:,} values"
        ends = (_short(top[0][0]), last) if top else ("", "")
    total = column.get("count", 0) + column.get("nulls", 0)
    nulls = f"{column['nulls'] / total:.1%} NULL" if total and column.get("nulls") else ""
    title = f"{name} (label)" if is_label else name
    return (
        f"<g><title>{escape(title)}: {escape(str(column['type']))}</title>"
        f"{_text(_cut(title), x, y + 14, INK, 12)}{_text(nulls, x + WIDTH, y + 14, QUIET, 11, 'end')}"
        f"{_bars(counts, x, y + BARS_TOP, FIRST if is_label else BAR)}"
        f'<path d="M{x} {y + BARS_TOP + BARS_HEIGHT}h{WIDTH}" stroke="{QUIET}"/>'
        f"{_text(ends[0], x, y + BARS_TOP + BARS_HEIGHT + 16, QUIET, 11)}"
        f"{_text(ends[1], x + WIDTH, y + BARS_TOP + BARS_HEIGHT + 16, QUIET, 11, 'end')}</g>"
    )


def _bars(counts: Sequence[int], x: int, y: int, color: str) -> str:
    most = max(counts, default=0)
    if not most:
        return ""
    step = WIDTH / max(len(counts), 2)
    return "".join(
        f'<rect x="{x + index * step:.1f}" y="{y + BARS_HEIGHT * (1 - count / most):.1f}" width="{max(step - 1, 0.5):.1f}"'
        f' height="{BARS_HEIGHT * count / most:.1f}" fill="{color}"/>'
        for index, count in enumerate(counts)
        if count
    )


def _text(text: str, x: float, y: float, color: str, size: int, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{color}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>' if text else ""


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return _cut(str(value).removesuffix("T00:00:00Z"))


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"
