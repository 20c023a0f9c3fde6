"""`show`: list objects of a type, or show one of them."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, print_facts, print_json, print_sql, print_table, say
from featurestore.errors import NotFound
from featurestore.values.humanize import format_count, format_duration
from featurestore.values.result import to_dicts

if TYPE_CHECKING:
    from featurestore.store_protocol import Store

LONG = ("definition", "plan", "column_digests", "sql", "statistics")
"""Fields that are too long to print; `--json` has them."""
VERSION = ("version", "fingerprint", "snapshot_id", "materialized_through", "applied_at")
MEASURED = ["column", "nulls", "distinct", "mean", "stddev", "min", "median", "max", "most frequent"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

Rows = list[dict[str, Any]]
Line = Callable[[dict[str, Any]], list[str]]


def _bold(text: Any) -> str:
    return f"[bold]{escape(str(text))}[/]"


def _names(values: Any) -> str:
    return escape(", ".join(map(str, values)))


def _pushed(log: dict[str, Any] | None) -> list[str]:
    """What was pushed: rows per minute, the age of the oldest row that is not copied, the newest event, rows that were refused."""
    if log is None:
        return ["–"] * 4
    if log["problem"]:
        return ["[red]?[/]", f"[red]{escape(log['problem'])}[/]", "–", "–"]
    lag = format_duration(int(log["lag_seconds"] * 1_000_000)) or "–" if log["waiting"] else "–"
    refused = f"[yellow]{format_count(log['refused'])}[/] ({escape(log['refusal'])})" if log["refused"] else "0"
    return [format_count(log["rows_per_minute"]), lag, moment(log["last_event"]) if log["last_event"] else "–", refused]


LINES: Mapping[str, tuple[list[str], Line]] = {
    "entities": (["entity", "keys", "description"], lambda row: [_bold(row["name"]), _names(row["keys"]), escape(row["description"])]),
    "sources": (
        ["source", "rows from", "time", "created", "rows/min", "lag", "last event", "refused"],
        lambda row: [
            _bold(row["name"]),
            escape(
                f"{row['table']} of {row['url']}"
                if row.get("url")
                else row["table"] or row["path"] or ("pushes" if "schema" in row else "a query")
            ),
            escape(row["timestamp"]),
            escape(row["created"] or "–"),
            *_pushed(row.get("log")),
        ],
    ),
    "views": (
        ["view", "version", "keys", "grid", "features", "materialized through", "newest event", "snapshot"],
        lambda row: [
            _bold(row["name"]),
            f"v{row['version']}",
            _names(row["keys"]),
            row["every"] or ("written" if row["kind"] == "written" else "rows"),
            format_count(len(row["features"])),
            moment(row["materialized_through"]) if row["materialized_through"] else "[yellow]never[/]",
            moment(row["newest_event"]) if row["newest_event"] else "–",
            row["snapshot_id"] or "–",
        ],
    ),
    "services": (
        ["service", "version", "keys", "request", "features", "tables"],
        lambda row: [
            _bold(row["name"]),
            f"v{row['version']}",
            _names(row["keys"]),
            _names(row["request"]) or "–",
            format_count(len(row["features"])),
            _names(dict.fromkeys(row["views"].values())),
        ],
    ),
    "training-sets": (
        ["training set", "service", "rows", "label", "created", "digest"],
        lambda row: [
            _bold(row["id"]),
            escape(row["service"]),
            format_count(row["rows"]),
            escape(row["label"] or "–"),
            moment(row["created_at"]),
            row["digest"][:12],
        ],
    ),
    "models": (
        ["model", "version", "aliases", "stage", "training set", "created"],
        lambda row: [
            _bold(row["model"]),
            escape(row["version"] or "–"),
            _names(row["aliases"]) or "–",
            escape(row["stage"] or "–"),
            escape(row["training_set"]),
            moment(row["at"]),
        ],
    ),
    "grants": (
        ["privilege", "on", "to", "granted", "by"],
        lambda row: [
            _bold(row["privilege"]),
            escape(row["on"]),
            escape(row["to"]),
            moment(row["granted"]),
            escape(row["granted_by"] or "–"),
        ],
    ),
    "policies": (
        ["on", "rule", "column", "sql", "unless", "applied", "by"],
        lambda row: [
            _bold(row["on"]),
            row["rule"].replace("_", " "),
            escape(row["column"] or "–"),
            escape(row["sql"] or "–"),
            _names(row["unless"]) or "–",
            moment(row["applied"]),
            escape(row["applied_by"] or "–"),
        ],
    ),
}


@click.command(cls=Command)
@click.argument("what", metavar="WHAT", type=click.Choice(list(LINES)))
@click.argument("name", required=False)
@click.option("--sql", is_flag=True, help="Also print the SQL of a view or a training set.")
@click.option("--on", metavar="OBJECT", help="Only grants on this object, as in 'VIEW customer_orders'.")
@click.option("--to", metavar="GRANTEE", help="Only grants to this user or group, as in 'GROUP analysts'.")
@context.store_options
def show(what: str, name: str | None, sql: bool, on: str | None, to: str | None) -> None:
    """List objects of a type, or show one of them.

    WHAT is entities, sources, views, services, training-sets, models, grants or policies. A view is shown with its versions, a training
    set with its manifest and statistics.
    """
    if what == "grants" and name is not None:
        raise click.UsageError("show grants takes no name; use --on and --to")
    if what == "policies" and name is not None:
        raise click.UsageError("show policies takes no name")
    if what != "grants" and (on or to):
        raise click.UsageError("--on and --to are for show grants")
    with context.store() as store:
        if name is not None:
            _show_object(_find(store, what, name), sql)
            return
        rows: Rows = to_dicts(store.grants(on, to) if what == "grants" else getattr(store, what.replace("-", "_"))())
    if context.as_json():
        print_json(rows)
        return
    if not rows:
        say(f"[dim]no {what} yet[/]")
        return
    columns, line = LINES[what]
    print_table(columns, [line(row) for row in rows], right=["features", "rows"])


def _show_object(fields: dict[str, Any], with_sql: bool) -> None:
    if context.as_json():
        print_json(fields)
        return
    sql, measured = fields.get("sql"), fields.get("statistics")
    shown = {name: value for name, value in fields.items() if name not in LONG and value not in ("", {}, [])}
    print_facts({name.replace("_", " "): _value(value) for name, value in shown.items()})
    if measured:
        say()
        print_table(MEASURED, [_measures(name, measures) for name, measures in measured["columns"].items()], right=MEASURED[1:-1])
    if sql and with_sql:
        say()
        print_sql(sql)


def _find(store: "Store", what: str, name: str) -> dict[str, Any]:
    if what == "views":
        return store.view(name).to_dict()
    if what == "services":
        return store.service(name).to_dict()
    if what == "training-sets":
        made = store.get_training_set(name)
        return {**made.manifest, "statistics": made.statistics}
    kind = {"entities": "entity", "sources": "source", "models": "model"}[what]
    field = "model" if what == "models" else "name"
    rows: Rows = to_dicts(getattr(store, what)())
    for row in rows:
        if row[field] == name:
            return row
    raise NotFound(kind, name, [row[field] for row in rows])


def _measures(name: str, column: Mapping[str, Any]) -> list[str]:
    """The cells of a column; empty for statistics that it does not have."""
    quantiles = column.get("quantiles") or {}
    shown = [column.get("mean"), column.get("stddev"), column.get("min"), quantiles.get("50"), column.get("max")]
    top = ", ".join(f"{_number(value)} ×{times}" for value, times in (column.get("top") or [])[:3])
    return [_bold(name), format_count(column["nulls"]), format_count(column["distinct"]), *map(_number, shown), top]


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else escape(_line(value))


def _value(value: Any) -> str:
    """A value on one or more lines: a mapping as one line per entry, a list of mappings as one line per item."""
    if isinstance(value, Mapping):
        width = max(map(len, value), default=0)
        return "\n".join(f"[dim]{escape(name.ljust(width))}[/]  {escape(_line(inner))}" for name, inner in value.items())
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return "\n".join(escape(_line(_short(item))) for item in value)
    return escape(_line(value))


def _short(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a version that distinguish it from others."""
    return {name: item[name] for name in VERSION if name in item} if "fingerprint" in item else item


def _line(value: Any) -> str:
    """A value as one line of plain text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_line(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if value is None:
        return "–"
    return moment(value) if isinstance(value, str) and TIME.fullmatch(value) else str(value)
