"""`show`: what is there, as lists and one by one."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_facts, print_json, print_sql, print_table, say
from featurestore.errors import NotFound
from featurestore.values.humanize import count

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore
    from featurestore.store import FeatureStore

LONG = ("definition", "plan", "column_digests", "sql", "statistics")
"""What would fill the screen; `--json` has it."""
VERSION = ("version", "fingerprint", "snapshot_id", "materialized_through", "applied_at")
MEASURED = ["column", "nulls", "distinct", "mean", "stddev", "min", "median", "max", "most frequent"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

Rows = list[dict[str, Any]]
Line = Callable[[dict[str, Any]], list[str]]


def _bold(text: Any) -> str:
    return f"[bold]{escape(str(text))}[/]"


def _names(values: Any) -> str:
    return escape(", ".join(map(str, values)))


LINES: Mapping[str, tuple[list[str], Line]] = {
    "entities": (["entity", "keys", "description"], lambda one: [_bold(one["name"]), _names(one["keys"]), escape(one["description"])]),
    "sources": (
        ["source", "rows from", "time", "created"],
        lambda one: [
            _bold(one["name"]),
            escape(one["table"] or one["path"] or "a query"),
            escape(one["timestamp"]),
            escape(one["created"] or "–"),
        ],
    ),
    "views": (
        ["view", "version", "keys", "grid", "features", "materialized through", "newest event", "snapshot"],
        lambda one: [
            _bold(one["name"]),
            f"v{one['version']}",
            _names(one["keys"]),
            one["every"] or "rows",
            count(len(one["features"])),
            moment(one["materialized_through"]) if one["materialized_through"] else "[yellow]never[/]",
            moment(one["newest_event"]) if one["newest_event"] else "–",
            one["snapshot_id"] or "–",
        ],
    ),
    "services": (
        ["service", "version", "keys", "request", "features", "tables"],
        lambda one: [
            _bold(one["name"]),
            f"v{one['version']}",
            _names(one["keys"]),
            _names(one["request"]) or "–",
            count(len(one["features"])),
            _names(dict.fromkeys(one["views"].values())),
        ],
    ),
    "training-sets": (
        ["training set", "service", "rows", "label", "made", "digest"],
        lambda one: [
            _bold(one["id"]),
            escape(one["service"]),
            count(one["rows"]),
            escape(one["label"] or "–"),
            moment(one["created_at"]),
            one["digest"][:12],
        ],
    ),
    "models": (
        ["model", "version", "aliases", "training set", "made"],
        lambda one: [
            _bold(one["model"]),
            escape(one["version"] or "–"),
            _names(one["aliases"]) or "–",
            escape(one["training_set"]),
            moment(one["at"]),
        ],
    ),
}


@click.command(cls=Command)
@click.argument("what", metavar="WHAT", type=click.Choice(list(LINES)))
@click.argument("name", required=False)
@click.option("--sql", is_flag=True, help="Print the SQL of a view or a training set as well.")
@context.shared
def show(what: str, name: str | None, sql: bool) -> None:
    """List what is there, or show one of it.

    WHAT is entities, sources, views, services, training-sets or models. A view is shown with its versions, a training set
    with its manifest and statistics.
    """
    with context.store() as store:
        if name is not None:
            _show_one(_one(store, what, name), sql)
            return
        rows: Rows = getattr(store, what.replace("-", "_"))()
    if context.as_json():
        print_json(rows)
        return
    if not rows:
        say(f"[dim]there are no {what} yet[/]")
        return
    columns, line = LINES[what]
    print_table(columns, [line(row) for row in rows], right=["features", "rows"])


def _show_one(found: dict[str, Any], with_sql: bool) -> None:
    if context.as_json():
        print_json(found)
        return
    sql, measured = found.get("sql"), found.get("statistics")
    shown = {name: value for name, value in found.items() if name not in LONG and value not in ("", {}, [])}
    print_facts({name.replace("_", " "): _value(value) for name, value in shown.items()})
    if measured:
        say()
        print_table(MEASURED, [_measures(name, one) for name, one in measured["columns"].items()], right=MEASURED[1:-1])
    if sql and with_sql:
        say()
        print_sql(sql)


def _one(store: "FeatureStore | RemoteStore", what: str, name: str) -> dict[str, Any]:
    if what == "views":
        return store.view(name)
    if what == "services":
        return store.service(name)
    if what == "training-sets":
        made = store.get_training_set(name)
        return {**made.manifest, "statistics": made.statistics}
    kind = {"entities": "entity", "sources": "source", "models": "model"}[what]
    field = "model" if what == "models" else "name"
    rows: Rows = getattr(store, what)()
    for row in rows:
        if row[field] == name:
            return row
    raise NotFound(kind, name, [row[field] for row in rows])


def _measures(name: str, column: Mapping[str, Any]) -> list[str]:
    """A column's line: what it has no number for stays empty."""
    quantiles = column.get("quantiles") or {}
    shown = [column.get("mean"), column.get("stddev"), column.get("min"), quantiles.get("50"), column.get("max")]
    top = ", ".join(f"{_number(value)} ×{times}" for value, times in (column.get("top") or [])[:3])
    return [_bold(name), count(column["nulls"]), count(column["distinct"]), *map(_number, shown), top]


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else escape(_line(value))


def _value(value: Any) -> str:
    """Values below one another: of a mapping with their names, of a list of documents in a line each."""
    if isinstance(value, Mapping):
        width = max(map(len, value), default=0)
        return "\n".join(f"[dim]{escape(name.ljust(width))}[/]  {escape(_line(inner))}" for name, inner in value.items())
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "\n".join(escape(_line(_short(item))) for item in value)
    return escape(_line(value))


def _short(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a version only what tells it from the others."""
    return {name: item[name] for name in VERSION if name in item} if "fingerprint" in item else item


def _line(value: Any) -> str:
    """Any value in one line, as plain text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_line(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value is None:
        return "–"
    return moment(value) if isinstance(value, str) and TIME.fullmatch(value) else str(value)
