"""`doctor`: looks at everything the store stands on, and says what to do about what is wrong."""

import platform
import shlex
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click
from rich.markup import escape

from featurestore import private
from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.errors import NOT_INSTALLED, FeatureStoreError
from featurestore.redaction import without_secrets
from featurestore.values.humanize import plural

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore
    from featurestore.settings import Settings
    from featurestore.store import FeatureStore

GIB = 1 << 30
LOOKED_AT = 10_000
LITTLE_DISK = 2 * GIB
LIBRARIES = ("duckdb", "pyarrow", "pyiceberg", "lmdb", "redis", "fastapi")
MARKS = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "wrong": "[bold red]✗[/]"}


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, what was seen, and what to do; `todo` is empty where all is well."""

    what: str
    state: Literal["ok", "note", "wrong"]
    seen: str
    todo: str = ""


@click.command(cls=Command)
@click.option("--repair", is_flag=True, help="Lead tables whose files are missing back to their last whole snapshot.")
@context.shared
def doctor(repair: bool) -> None:
    """Check settings, stores, disk and versions.

    Says what to do about whatever is wrong, and ends with status 1 if anything is. An object is put into the warehouse and taken away.
    """
    address = context.url()
    if repair and address is not None:
        raise click.UsageError("--repair works on a store, not on a server: run it where the server runs")
    findings = list(_examine(repair) if address is None else _examine_server(address))
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if context.as_json():
        print_json({"healthy": not wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [
            [MARKS[one.state], f"[bold]{one.what}[/]", escape(one.seen) + (f"\n[yellow]{escape(one.todo)}[/]" if one.todo else "")]
            for one in findings
        ]
        print_table(["", "", ""], rows)
        say(f"[bold red]{plural(len(wrong), 'problem')} found[/]" if wrong else "[green]no problems found[/]")
    if wrong:
        click.get_current_context().exit(1)


def _examine_server(address: str) -> Iterator[Finding]:
    """A server, and the parts that it says it stands on."""
    shown = without_secrets(address)
    try:
        with context.store() as store:
            found = cast("RemoteStore", store).parts()
    except FeatureStoreError as error:
        yield Finding("server", "wrong", f"{shown}: {error.message}", "start it, or run featurestore doctor where it runs")
        return
    yield Finding("server", "ok", f"{shown} answers")
    for part, state in found.items():
        if state == "ok":
            yield Finding(part, "ok", state)
        elif state == NOT_INSTALLED:
            yield Finding(part, "note", state, "pip install 'featurestore[mlflow]' where the server runs")
        else:
            yield Finding(part, "wrong", state, "run featurestore doctor where the server runs")


def _examine(repair: bool) -> Iterator[Finding]:
    yield _versions()
    try:
        settings = context.settings()
    except FeatureStoreError as error:
        yield Finding("settings", "wrong", error.message, "correct featurestore.toml or the FEATURESTORE_* variable")
        return
    file = Path("featurestore.toml")
    yield Finding(
        "settings",
        "ok",
        f"{file.absolute()} and the environment" if file.exists() else "defaults and the environment; no featurestore.toml here",
    )
    yield _home(settings)
    yield _disk(settings)
    yield from _stores(settings, repair)
    yield _definitions(settings)
    yield _mlflow(settings)


def _versions() -> Finding:
    seen = [
        f"featurestore {version('featurestore')}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in LIBRARIES),
    ]
    old = sys.version_info < (3, 11)
    return Finding("versions", "wrong" if old else "ok", ", ".join(seen), "Python 3.11 or later is needed" if old else "")


def _home(settings: "Settings") -> Finding:
    home = settings.home_path()
    probe = home / ".doctor"
    try:
        private.make_folder(home)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding(
            "home", "wrong", f"{home}: {error.strerror}", "let this user write there, or set FEATURESTORE_HOME to another folder"
        )
    if loose := next(private.open_to_others(home, LOOKED_AT), None):
        return Finding("home", "note", f"{home}: others on this machine can get at {loose}", f"chmod -R go-rwx {shlex.quote(str(home))}")
    return Finding("home", "ok", str(home))


def _disk(settings: "Settings") -> Finding:
    spill = settings.spill_path()
    folder = next(path for path in (spill, *spill.parents) if path.exists())
    probe = spill / f".doctor-{uuid.uuid4().hex}"
    try:
        spill.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding("disk", "wrong", f"{spill}: {error.strerror}", "let this user write there, or set spill_directory to another folder")
    free = shutil.disk_usage(folder).free
    seen = f"{free / GIB:.0f} GiB free for tables and spilling at {folder}"
    if free < LITTLE_DISK:
        return Finding("disk", "note", seen, "large joins spill to disk: free some, or set spill_directory to a larger one")
    return Finding("disk", "ok", seen)


def _stores(settings: "Settings", repair: bool) -> Iterator[Finding]:
    places = {
        "catalog": settings.catalog_properties().get("uri", ""),
        "warehouse": f"{settings.catalog_properties().get('warehouse', 'of the server')}: an object was written there, and removed",
        "online store": settings.online_url(),
    }
    with context.open_store(settings) as store:
        found = store.check(write=True)
        for part, error in found.items():
            if error is None:
                yield Finding(part, "ok", without_secrets(places[part]))
            else:
                yield Finding(part, "wrong", str(error), f"start it, or correct the setting '{part.split()[0]}'")
        if found["catalog"] is None and found["warehouse"] is None:
            yield from _damages(store, repair)
            yield _views(store.views)


def _damages(store: "FeatureStore", repair: bool) -> Iterator[Finding]:
    """Tables whose files are missing, and what was done about it."""
    try:
        found = store.repair(dry_run=not repair)
    except FeatureStoreError as error:
        yield Finding("files", "wrong", str(error), "see that catalog and warehouse can be reached, then run featurestore doctor again")
        return
    for one in found:
        place = "an empty table" if one["back_to"] is None else f"snapshot {one['back_to']}"
        lost = f"{one['missing']} files of its current snapshot are missing, such as {one['first']}; " if one["missing"] else ""
        named = f"training sets that need a missing file: {', '.join(one['training_sets'])}; " if one["training_sets"] else ""
        done = f"it was led back to {place}" if repair else f"featurestore doctor --repair leads it back to {place}"
        todo = f"{done}; {one['todo']}" if one["missing"] else one["todo"]
        yield Finding(f"table {one['table']}", "note" if repair else "wrong", f"{lost}{named}".rstrip("; "), todo)
    if not found:
        yield Finding("files", "ok", "every file of every current and tagged snapshot is there")


def _views(views: Callable[[], list[dict[str, object]]]) -> Finding:
    try:
        all_views = views()
    except FeatureStoreError as error:
        return Finding("views", "wrong", error.message, "see that the warehouse's files can be read")
    empty = [str(view["name"]) for view in all_views if view["materialized_through"] is None]
    if not all_views:
        return Finding("views", "note", "none applied yet", "featurestore apply")
    if empty:
        return Finding(
            "views", "note", f"{plural(len(all_views), 'view')}, never materialized: {', '.join(empty)}", "featurestore materialize"
        )
    return Finding("views", "ok", f"{plural(len(all_views), 'view')}, all materialized")


def _definitions(settings: "Settings") -> Finding:
    from featurestore.compiler import check  # noqa: PLC0415 - sqlglot takes a while to import
    from featurestore.dsl.loader import load  # noqa: PLC0415

    if not settings.definitions.exists():
        return Finding("definitions", "note", f"no folder {settings.definitions} here", "featurestore init writes an example")
    try:
        found = load(settings.definitions)
    except FeatureStoreError as error:
        return Finding("definitions", "wrong", error.message, "correct the files")
    problems = [*found.problems, *check.definition_problems(found)]
    if problems:
        return Finding("definitions", "wrong", "\n".join(map(str, problems)), "correct the files; featurestore plan checks them again")
    counts = f"{plural(len(found.views), 'view')} and {plural(len(found.services), 'service')} in {settings.definitions}"
    return Finding("definitions", "ok", counts)


def _mlflow(settings: "Settings") -> Finding:
    try:
        found = version("mlflow")
    except PackageNotFoundError:
        return Finding("mlflow", "note", "not installed, so no models", "pip install 'featurestore[mlflow]'")
    from featurestore.models import health  # noqa: PLC0415 - requests and SQLAlchemy take a while to import

    try:
        shown = health.check(settings)
    except FeatureStoreError as error:
        return Finding("mlflow", "wrong", str(error), "start it, or correct the setting mlflow_tracking_uri")
    return Finding("mlflow", "ok", f"mlflow {found}, tracking at {shown}")
