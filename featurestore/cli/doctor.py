"""`doctor`: check everything that the store depends on, and say how to fix what is wrong."""

import platform
import shlex
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from rich.markup import escape

from featurestore import private
from featurestore.cli import context
from featurestore.cli.finding import Finding
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, print_table, say
from featurestore.errors import NOT_INSTALLED, FeatureStoreError
from featurestore.redaction import without_secrets
from featurestore.values.humanize import format_count, format_plural

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore
    from featurestore.records.listings import SourceInfo, ViewInfo
    from featurestore.settings import Settings
    from featurestore.store_protocol import Store

GIB = 1 << 30
LOOKED_AT = 10_000
LITTLE_DISK = 2 * GIB
LATE_SECONDS = 600
"""For so long pushed events may wait to be copied."""
LIBRARIES = ("duckdb", "pyarrow", "pyiceberg", "lmdb", "redis", "fastapi")
MARKS = {"ok": "[green]✓[/]", "note": "[yellow]![/]", "wrong": "[bold red]✗[/]"}


@click.command(cls=Command)
@click.option("--repair", is_flag=True, help="Roll tables with missing files back to their last complete snapshot.")
@context.store_options
def doctor(repair: bool) -> None:
    """Check settings, stores, disk and versions.

    Says how to fix each problem, and exits with status 1 if there is any. Writes an object to the warehouse and removes it.
    """
    address = context.url()
    findings = list(_examine(repair) if address is None else _examine_server(address, repair))
    wrong = [finding for finding in findings if finding.state == "wrong"]
    if context.as_json():
        print_json({"healthy": not wrong, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [
            [
                MARKS[finding.state],
                f"[bold]{finding.what}[/]",
                escape(finding.seen) + (f"\n[yellow]{escape(finding.todo)}[/]" if finding.todo else ""),
            ]
            for finding in findings
        ]
        print_table(["", "", ""], rows)
        say(f"[bold red]{format_plural(len(wrong), 'problem')} found[/]" if wrong else "[green]no problems found[/]")
    if wrong:
        click.get_current_context().exit(1)


def _examine_server(address: str, repair: bool) -> Iterator[Finding]:
    """Check a server and the parts that it reports; with `repair`, repair its tables."""
    with context.store() as store:
        yield from _examine_parts(without_secrets(address), cast("RemoteStore", store))
        if repair:
            yield from _damages(store, repair)


def _examine_parts(shown: str, store: "RemoteStore") -> Iterator[Finding]:
    try:
        parts = store.parts()
    except FeatureStoreError as error:
        yield Finding("server", "wrong", f"{shown}: {error.message}", "start it, or run featurestore doctor where it runs")
        return
    yield Finding("server", "ok", f"{shown} answers")
    for part, state in parts.items():
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
    # Imported here: clients of databases and object stores take a while to import.
    from featurestore.cli import doctor_places  # noqa: PLC0415

    yield from doctor_places.check_databases(settings)
    yield from doctor_places.check_engine(settings)
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
    if loose := next(private.accessible_to_others(home, LOOKED_AT), None):
        return Finding("home", "note", f"{home}: other users of this machine can read {loose}", f"chmod -R go-rwx {shlex.quote(str(home))}")
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
        return Finding("disk", "note", seen, "large joins spill to disk: free some space, or set spill_directory to a larger disk")
    return Finding("disk", "ok", seen)


def _stores(settings: "Settings", repair: bool) -> Iterator[Finding]:
    places = {
        "catalog": settings.catalog_properties().get("uri", ""),
        "warehouse": f"{settings.catalog_properties().get('warehouse', 'of the server')}: an object was written and removed",
        "online store": settings.online_url(),
    }
    with context.open_store(settings) as store:
        health = store.check(write=True)
        for part, error in health.items():
            if error is None:
                yield Finding(part, "ok", without_secrets(places[part]))
            else:
                yield Finding(part, "wrong", str(error), f"start it, or correct the setting '{part.split()[0]}'")
        if health["catalog"] is None and health["warehouse"] is None:
            from featurestore.cli import doctor_places  # noqa: PLC0415

            yield from doctor_places.check_catalog(store, settings)
            yield from _damages(store, repair)
            yield _views(store.views)
            sources = store.sources()
            yield from doctor_places.check_addresses(settings, sources)
            yield from _push_logs(sources)


def _push_logs(sources: "list[SourceInfo]") -> Iterator[Finding]:
    """What the log of pushed events says of each source that has one."""
    for source in sources:
        if (log := source.log) is None:
            continue
        what = f"pushes to {source.name}"
        if log.problem:
            yield Finding(what, "wrong", log.problem, "correct the setting push_log, or start what it names")
        elif log.lag_seconds > LATE_SECONDS:
            seen = f"{format_count(log.waiting)} rows have been waiting for up to {log.lag_seconds:.0f} s to be copied into their table"
            yield Finding(what, "note", seen, "featurestore materialize, or a server, copies them")
        else:
            yield Finding(what, "ok", f"{format_count(log.rows)} rows acknowledged, {format_count(log.waiting)} not copied yet")


def _damages(store: "Store", repair: bool) -> Iterator[Finding]:
    """Tables with missing files, and how they were or can be repaired."""
    try:
        damaged = store.repair(dry_run=not repair)
    except FeatureStoreError as error:
        yield Finding("files", "wrong", str(error), "check that catalog and warehouse can be reached, then run featurestore doctor again")
        return
    for table in damaged:
        target = "an empty table" if table.back_to is None else f"snapshot {table.back_to}"
        missing = f"{table.missing} files of its current snapshot are missing, such as {table.first}; " if table.missing else ""
        affected = f"training sets that need a missing file: {', '.join(table.training_sets)}; " if table.training_sets else ""
        done = f"rolled back to {target}" if repair else f"featurestore doctor --repair rolls it back to {target}"
        todo = f"{done}; {table.todo}" if table.missing else table.todo
        yield Finding(f"table {table.table}", "note" if repair else "wrong", f"{missing}{affected}".rstrip("; "), todo)
    if not damaged:
        yield Finding("files", "ok", "all files of current and tagged snapshots exist")


def _views(views: "Callable[[], list[ViewInfo]]") -> Finding:
    try:
        all_views = views()
    except FeatureStoreError as error:
        return Finding("views", "wrong", error.message, "check that the files of the warehouse can be read")
    # Nothing needs to be run for a written table.
    empty = [view.name for view in all_views if view.materialized_through is None and view.kind != "written"]
    if not all_views:
        return Finding("views", "note", "none applied yet", "featurestore apply")
    if empty:
        return Finding(
            "views", "note", f"{format_plural(len(all_views), 'view')}, never materialized: {', '.join(empty)}", "featurestore materialize"
        )
    return Finding("views", "ok", f"{format_plural(len(all_views), 'view')}, all materialized")


def _definitions(settings: "Settings") -> Finding:
    from featurestore.compiler import check  # noqa: PLC0415 - sqlglot takes a while to import
    from featurestore.dsl.loader import load_definitions  # noqa: PLC0415

    if not settings.definitions.exists():
        return Finding("definitions", "note", f"no folder {settings.definitions} here", "featurestore init writes an example")
    try:
        definitions = load_definitions(settings.definitions)
    except FeatureStoreError as error:
        return Finding("definitions", "wrong", error.message, "correct the files")
    problems = [*definitions.problems, *check.definition_problems(definitions)]
    if problems:
        return Finding("definitions", "wrong", "\n".join(map(str, problems)), "correct the files; featurestore plan checks them again")
    views, services = format_plural(len(definitions.views), "view"), format_plural(len(definitions.services), "service")
    return Finding("definitions", "ok", f"{views} and {services} in {settings.definitions}")


def _mlflow(settings: "Settings") -> Finding:
    try:
        installed = version("mlflow")
    except PackageNotFoundError:
        return Finding("mlflow", "note", "not installed; models are not available", "pip install 'featurestore[mlflow]'")
    # Requests and SQLAlchemy take a while to import.
    from featurestore.models.mlflow_access import health, location  # noqa: PLC0415
    from featurestore.records import model_events  # noqa: PLC0415
    from featurestore.store import FeatureStore  # noqa: PLC0415

    try:
        shown = health.check_tracking(settings)
    except FeatureStoreError as error:
        return Finding("mlflow", "wrong", str(error), "start it, or correct the setting mlflow_tracking_uri")
    try:
        with FeatureStore(settings=settings) as store:
            recorded = model_events.logged_to(store.catalog, settings)
    except FeatureStoreError:
        # The finding about the catalog says what is wrong with it.
        recorded = None
    used = location.other_address(settings, recorded)
    if used is not None:
        seen = f"a model of this catalog was last logged to {recorded}, and this machine uses {used}"
        return Finding("mlflow", "wrong", seen, f"set mlflow_tracking_uri to {recorded}, with its password if it has one")
    return Finding("mlflow", "ok", f"mlflow {installed}, tracking at {shown}")
