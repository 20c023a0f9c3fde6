"""`audit`: the chain behind a model, from raw tables to its predictions, with every link verified."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import note, print_json, say
from featurestore.errors import RequestError

if TYPE_CHECKING:
    from featurestore.pipelines.lineage.audit_result import Audit, Link

SHOWN = (
    "version",
    "commit",
    "snapshot_id",
    "snapshots",
    "materialized_through",
    "rows",
    "label",
    "digest",
    "metrics",
    "approver",
    "user",
    "stage",
)
"""The facts of a link that are printed; --json has all."""


@click.command(cls=Command)
@click.argument("model_uri")
@click.option("--deep", is_flag=True, help="Also compute the training set again from its pinned snapshots.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write the chain as one page with a picture.")
@context.store_options
def audit(model_uri: str, deep: bool, html: Path | None) -> None:
    """Verify the chain behind a model.

    The chain goes from raw tables to predictions. MODEL_URI is an MLflow URI, such as models:/churn@champion. Source tables
    and snapshots, view versions, training set, run, version, aliases with approvers, and logged predictions are each
    verified. Status 1, with the broken links named, if one is not as it was.
    """
    with context.store() as store:
        audit_result = store.audit(model_uri, deep)
    if html is not None:
        from featurestore.cli.audit_page import audit_page  # noqa: PLC0415 - only for this option

        _write(html, audit_page(audit_result))
    if context.as_json():
        print_json(audit_result)
    else:
        _show(audit_result)
    if audit_result.broken:
        if not context.as_json():
            note(f"[bold red]broken[/]  {escape(', '.join(audit_result.broken))}")
        click.get_current_context().exit(1)


def _write(file: Path, page: str) -> None:
    """Write the page. Raises: RequestError if that is not possible."""
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {file}: {error.strerror or error}", field="html") from error


def _show(audit_result: "Audit") -> None:
    for link in audit_result.links:
        say(f"[{'red' if link.problems else 'green'}]{'✗' if link.problems else '✓'}[/] [bold]{escape(link.kind)}[/]  {escape(link.name)}")
        for name, value in _facts(link).items():
            say(f"    [dim]{name.replace('_', ' ')}[/]  {escape(_text(value))}")
        for text in link.verified:
            say(f"    [dim]verified: {escape(text)}[/]")
        for text in link.problems:
            say(f"    [red]{escape(text)}[/]")
    if not audit_result.broken:
        deep = ", the training set computed again" if audit_result.deep else ""
        say(f"[green]verified[/]  {len(audit_result.links)} links of {escape(audit_result.uri)}{deep}")


def _facts(link: "Link") -> dict[str, Any]:
    return {name: link.facts[name] for name in SHOWN if link.facts.get(name) not in (None, {}, [])}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(inner)}" for name, inner in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)
