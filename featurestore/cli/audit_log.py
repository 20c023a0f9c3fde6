"""`audit-log`: who did what, and the proof that nothing of it was changed."""

import json
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, Any

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import moment, note, print_json, print_table, say
from featurestore.errors import RequestError
from featurestore.values.humanize import format_plural

if TYPE_CHECKING:
    from featurestore.audit_log.results import AuditEntry, AuditVerification, ChainHead

LIMIT = 100


@click.command("audit-log", cls=Command)
@click.argument("action_name", type=click.Choice(["show", "verify", "head"]), metavar="[show|verify|head]")
@click.option("--principal", metavar="NAME", help="show: only what this principal did.")
@click.option("--since", metavar="TIME", help="show: only what was done from this time on.")
@click.option("--action", metavar="TEXT", help="show: only this action, as in 'POST /v1/apply'.")
@click.option("--entity", metavar="JSON", help="show: only lookups of this entity, as in '{\"customer_id\": 42}'.")
@click.option("--limit", type=click.IntRange(1, 10_000), help=f"show: the newest entries; default: {LIMIT}.")
@click.option("--head", type=click.File("r"), metavar="FILE", help="verify: also against the output of audit-log head --json.")
@context.store_options
def audit_log(
    action_name: str,
    principal: str | None,
    since: str | None,
    action: str | None,
    entity: str | None,
    limit: int | None,
    head: IO[str] | None,
) -> None:
    """Show or verify who did what.

    verify exits with 1 if an entry was edited, removed or added. head prints the last entry of each chain: keep the output of
    head --json elsewhere, and verify --head FILE then also finds what was removed together with every trace of it.
    """
    if action_name != "show" and (principal or since or action or entity or limit):
        raise click.UsageError(f"audit-log {action_name} takes neither --principal nor --since, --action, --entity nor --limit")
    if action_name != "verify" and head is not None:
        raise click.UsageError("--head is an option of audit-log verify")
    with context.store() as store:
        if action_name == "show":
            keys = None if entity is None else _object(entity)
            _show(store.audit_log(principal, since, action, keys, limit or LIMIT))
        elif action_name == "head":
            _heads(store.audit_log_heads())
        else:
            _verified(store.verify_audit_log([] if head is None else _documents(head)))


def _show(entries: "Sequence[AuditEntry]") -> None:
    if context.as_json():
        print_json(list(entries))
        return
    if not entries:
        say("no entries; the setting audit_log turns the audit log on")
        return
    rows = []
    for entry in entries:
        shown = entry.to_dict()
        outcome = str(entry.status or "") if entry.error is None else f"{entry.status or ''} {entry.error}".strip()
        rows.append(
            (moment(shown["time"]), escape(entry.principal), escape(entry.action), escape(" ".join(entry.objects)), escape(outcome or "ok"))
        )
    print_table(("time", "principal", "action", "objects", "outcome"), rows)


def _heads(heads: "Sequence[ChainHead]") -> None:
    if context.as_json():
        print_json(list(heads))
        return
    print_table(("chain", "number", "hash"), [(head.chain, str(head.number), head.hash) for head in heads], right=("number",))


def _verified(result: "AuditVerification") -> None:
    if context.as_json():
        print_json(result)
    else:
        what = f"{result.entries} {'entry' if result.entries == 1 else 'entries'} in {format_plural(result.chains, 'chain')}"
        if result.verified:
            say(f"[green]verified[/]  {what}: nothing was edited, removed or added")
        else:
            say(f"[red]not verified[/]  {what}, {format_plural(len(result.problems), 'problem')} found")
            print_table(("chain", "entry", "what"), [(p.chain, str(p.number), escape(p.what)) for p in result.problems], right=("entry",))
    if not result.verified:
        note("the log is not what was written; see docs/audit-log.md")
        click.get_current_context().exit(1)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.BadParameter("give JSON", param_hint="--entity") from error
    if not isinstance(value, dict):
        raise click.BadParameter("give the keys as a JSON object", param_hint="--entity")
    return value


def _documents(file: IO[str]) -> list[Any]:
    try:
        value = json.load(file)
    except ValueError as error:
        raise RequestError("the file of --head is not JSON; give the output of featurestore audit-log head --json", field="head") from error
    if not isinstance(value, list):
        raise RequestError("the file of --head has no list of heads; give the output of featurestore audit-log head --json", field="head")
    return value
