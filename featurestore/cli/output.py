"""Print tables, messages, JSON and errors."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from featurestore.errors import FeatureStoreError
from featurestore.values import json_encoding

PIPE_WIDTH = 200
"""Width of output that is not a terminal, wide enough for tables not to be cut."""


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else PIPE_WIDTH, highlight=False)


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(json_encoding.dumps(value, default=json_encoding.plain, option=json_encoding.OPTIONS | orjson.OPT_INDENT_2))


def print_line(value: Any) -> None:
    """One JSON document in one line, written at once: for readers that wait for the next one."""
    click.echo(json_encoding.dumps(value, default=json_encoding.plain))
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table without lines; columns in `right` are right-aligned. Cells may contain rich markup."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim", show_header=any(columns))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values, one pair per line. Values may contain rich markup."""
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    console().print(table)


def print_sql(sql: str, language: str = "sql") -> None:
    """Print SQL, or a `diff` of it: highlighted on a terminal, else as plain text."""
    if not sys.stdout.isatty():
        click.echo(sql)
        return
    # Imported here: few commands print SQL, and pygments is slow to import.
    from rich.syntax import Syntax  # noqa: PLC0415

    console().print(Syntax(sql, language, theme="ansi_dark", background_color="default", word_wrap=True))


def say(text: str = "") -> None:
    """Print a line with rich markup to stdout."""
    console().print(text, soft_wrap=True)


def note(text: str) -> None:
    """Print a line with rich markup to stderr."""
    console(stderr=True).print(text, soft_wrap=True)


def print_error(error: FeatureStoreError, as_json: bool) -> None:
    """Print an error to stderr; with `as_json`, as the HTTP API returns it."""
    if as_json:
        body = {"error": {"type": type(error).__name__, "message": error.message, "details": error.details}}
        click.echo(json_encoding.dumps(body, default=json_encoding.plain, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS), err=True)
        return
    text = f"[bold red]error[/]  {escape(error.message)}"
    reason = error.details.get("reason")
    note(text if not reason else f"{text}\n       [dim]{escape(str(reason))}[/]")


def moment(text: str | None) -> str:
    """An RFC 3339 time to the second; a dash for None."""
    return "–" if text is None else f"{text[:10]} {text[11:19]}Z"
