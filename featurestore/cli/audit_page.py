"""An audit as one HTML page: the chain as a picture, and the facts of each link below it; everything from the store is escaped."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.audit_result import Audit, Link

COLUMNS = (("source", "dataset"), ("view",), ("training set",), ("run", "model"), ("alias", "traffic"), ("predictions",))
"""The columns of the picture, each with the kinds of links in it."""
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 200, 58, 50, 16, 12
LETTERS = 22
STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --quiet: #5b6b7b; --line: #b8c4cf; --paper: #fff;
  --good: #0b7a55; --bad: #b3261e; --panel: #f4f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --quiet: #9aa8b5; --line: #475563; --paper: #10161c; --good: #4cc38a; --bad: #ff7b72; --panel: #18212a; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 2rem auto; max-width: 1500px; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .3rem; } h2 { font-size: 1.05rem; margin: 0 0 .4rem; }
.quiet { color: var(--quiet); } .good { color: var(--good); } .bad { color: var(--bad); }
.picture { overflow-x: auto; margin: 1.5rem 0; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; } svg .kind { fill: var(--quiet); font-size: 11px; }
svg rect { fill: var(--panel); stroke: var(--good); stroke-width: 1.5; rx: 8; } svg .bad rect { stroke: var(--bad); stroke-width: 2.5; }
svg path { stroke: var(--line); stroke-width: 1.5; fill: none; }
section { background: var(--panel); border-left: 4px solid var(--good); border-radius: 6px; padding: .8rem 1rem; margin: .8rem 0; }
section.bad { border-color: var(--bad); color: inherit; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .4rem 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
pre { overflow-x: auto; font-size: 12px; margin: .3rem 0; white-space: pre-wrap; }
"""


def audit_page(audit: "Audit") -> str:
    """One page that needs no other file and no network."""
    state = f"{len(audit.broken)} of {len(audit.links)} links are broken" if audit.broken else f"all {len(audit.links)} links verified"
    deep = ", the training set computed again" if audit.deep else ""
    sections = "\n".join(_section(index, link) for index, link in enumerate(audit.links))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Audit of {escape(audit.uri)}</title><style>{STYLE}</style></head><body>
<h1>Audit of {escape(audit.uri)}</h1>
<p><strong class="{"bad" if audit.broken else "good"}">{"✗" if audit.broken else "✓"} {escape(state)}</strong>{escape(deep)}
<span class="quiet">· {escape(audit.model)} version {escape(audit.version or "–")} · {escape(str(audit.to_dict()["at"]))}</span></p>
<div class="picture">{_picture(audit)}</div>
{sections}
</body></html>
"""


def _picture(audit: "Audit") -> str:
    columns = [[(index, link) for index, link in enumerate(audit.links) if link.kind in column_kinds] for column_kinds in COLUMNS]
    columns = [column for column in columns if column]
    rows = max((len(column) for column in columns), default=1)
    height = rows * (HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN
    width = len(columns) * (WIDTH + GAP_X) - GAP_X + 2 * MARGIN
    places = {
        index: (MARGIN + x * (WIDTH + GAP_X), _top(y, len(column), height))
        for x, column in enumerate(columns)
        for y, (index, _) in enumerate(column)
    }
    pairs = [(left, right) for here, there in pairwise(columns) for left in here for right in there if _is_linked(left[1], right[1])]
    lines = "".join(_line(places[left], places[right]) for (left, _), (right, _) in pairs)
    boxes = "".join(_box(index, link, *places[index]) for column in columns for index, link in column)
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="The chain">{lines}{boxes}</svg>'


def _is_linked(left: "Link", right: "Link") -> bool:
    """Whether a link of one column leads to one of the next: a source leads to the views that read it."""
    sources = right.facts.get("sources")
    return sources is None or left.kind != "source" or left.name in sources


def _top(row: int, rows: int, height: int) -> float:
    return (height - (rows * (HEIGHT + GAP_Y) - GAP_Y)) / 2 + row * (HEIGHT + GAP_Y)


def _line(left: tuple[float, float], right: tuple[float, float]) -> str:
    x1, y1, x2, y2 = left[0] + WIDTH, left[1] + HEIGHT / 2, right[0], right[1] + HEIGHT / 2
    middle = (x1 + x2) / 2
    return f'<path d="M{x1:g} {y1:g} C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"/>'


def _box(index: int, link: "Link", x: float, y: float) -> str:
    name = link.name if len(link.name) <= LETTERS else f"{link.name[: LETTERS - 9]}…{link.name[-8:]}"
    mark = "✗" if link.problems else "✓"
    return (
        f'<a href="#link{index}"><g class="{"bad" if link.problems else "good"}"><title>{escape(link.title)}</title>'
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}"/>'
        f'<text class="kind" x="{x + 12:g}" y="{y + 21:g}">{mark} {escape(link.kind)}</text>'
        f'<text x="{x + 12:g}" y="{y + 42:g}">{escape(name)}</text></g></a>'
    )


def _section(index: int, link: "Link") -> str:
    items = [f'<li class="bad">{escape(text)}</li>' for text in link.problems]
    items += [f'<li class="good">{escape(text)}</li>' for text in link.verified]
    facts = "".join(_fact(name, value) for name, value in link.facts.items() if value not in (None, {}, [], ""))
    return (
        f'<section id="link{index}"{" class=bad" if link.problems else ""}><h2>{escape(link.title)}</h2>'
        f"<ul>{''.join(items)}</ul><dl>{facts}</dl></section>"
    )


def _fact(name: str, value: Any) -> str:
    shown = (
        f"<details><summary>show</summary><pre>{escape(value)}</pre></details>"
        if name == "sql"
        else "<br>".join(escape(line) for line in _lines(value))
    )
    return f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{shown}</dd>"


def _lines(value: Any) -> Iterator[str]:
    """A value as lines of text: one for each item of a list."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _lines(item)
    elif isinstance(value, Mapping):
        yield ", ".join(f"{name}: {inner if isinstance(inner, str) else json.dumps(inner, default=str)}" for name, inner in value.items())
    else:
        yield str(value)
