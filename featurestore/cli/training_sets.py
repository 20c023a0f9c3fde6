"""`training-set` and `rebuild`: joining a spine with features as of each row's time, and proving it again."""

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.markup import escape

from featurestore.cli import context, csv_format
from featurestore.cli.help import Command
from featurestore.cli.output import console, note, print_facts, print_json, say
from featurestore.values.humanize import count

if TYPE_CHECKING:
    from featurestore.pipelines.training_sets.progress import OnBuildProgress
    from featurestore.pipelines.training_sets.training_set import TrainingSet


@click.command(cls=Command)
@click.argument("service")
@click.option("--spine", metavar="ROWS", help="A Parquet or CSV file or glob, iceberg:namespace.table[@snapshot], or a SELECT.")
@csv_format.option
@click.option("--timestamp", metavar="COLUMN", help="The spine's column with each row's time.")
@click.option("--start", metavar="TIME", help="Without --spine: the first time at which every key gets a row.")
@click.option("--every", metavar="DURATION", help="Without --spine: the step to its next row, such as 1d.")
@click.option("--end", metavar="TIME", help="Without --spine: the last time; included if a step meets it.")
@click.option("--label", metavar="COLUMN", help="The spine's column to learn.")
@click.option("--name", help="The training set's name; the service's when left out.")
@click.option(
    "--known",
    type=click.Choice(["now", "then"]),
    default="now",
    show_default=True,
    help="now: with the latest corrections; then: only what was known at each row's time.",
)
@click.option(
    "--snapshot", "snapshots", multiple=True, metavar="TABLE=ID", help="Pin a feature table, such as orders_v1=123; may be repeated."
)
@click.option(
    "--split",
    multiple=True,
    metavar="PART=SHARE|TIME",
    help="A part by its share, train=0.8, or by its end, train=2026-03-01; repeat it; test= for the rest.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Rows equal in this are in the same part; the service's keys when left out; may be repeated.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the rows to this Parquet file.")
@context.shared
def training_set(
    service: str,
    spine: str | None,
    written: tuple[str, ...],
    timestamp: str | None,
    start: str | None,
    every: str | None,
    end: str | None,
    label: str | None,
    name: str | None,
    known: str,
    snapshots: tuple[str, ...],
    split: tuple[str, ...],
    by: tuple[str, ...],
    out: Path | None,
) -> None:
    """Join rows with features as of each row's time.

    The rows are a spine's (--spine, --timestamp), or made: each key at each time of a grid (--start, --end, --every).
    Every row comes out once and in order, with the features as they were at its time. The same request on the same
    snapshots gives the same training set.
    """
    pins, parts, form = _pins(snapshots), _split(split), csv_format.parsed(written)
    _one_kind_of_rows({"--spine": spine, "--timestamp": timestamp}, {"--start": start, "--every": every, "--end": end})
    with context.store() as store:
        then: Literal["now", "then"] = "then" if known == "then" else "now"
        asked = (service, spine, timestamp, label, name, then, pins, parts, by or None, start, end, every)
        with _bar() as report:
            made = store.training_set(*asked, progress=report, format=form)
        if out is not None:
            write(made, out)
    _show(made, out)


@click.command(cls=Command)
@click.argument("id_or_model_uri", metavar="ID|MODEL_URI")
@context.shared
def rebuild(id_or_model_uri: str) -> None:
    """Compute a training set again and compare.

    From its pinned snapshots alone. A model's URI, such as models:/churn/3, stands for the training set it carries. Ends
    with status 1 and the names of the columns when anything differs.
    """
    with context.store() as store:
        found = store.rebuild(id_or_model_uri)
    if context.as_json():
        print_json({"id": found.id, "verified": True, "digest": found.digest, "rows": found.manifest["rows"]})
        return
    say(f"[green]the same, bit for bit[/]  {escape(found.id)}, {count(found.manifest['rows'])} rows")
    say(f"[dim]digest {found.digest}[/]")


def write(made: "TrainingSet", path: Path) -> None:
    """The rows as a Parquet file, a batch at a time. Raises: RequestError when it cannot be written."""
    # Here and not above: pyarrow takes longer to import than `--help` may take to print.
    from featurestore.cli.files import write_parquet  # noqa: PLC0415

    write_parquet(made.read(), path)


def _one_kind_of_rows(spine: Mapping[str, str | None], grid: Mapping[str, str | None]) -> None:
    """Either a spine or a grid, and all of it: the check that Python makes of its arguments, in the words of the command line."""
    given = [name for name, value in grid.items() if value is not None]
    if spine["--spine"] is not None and given:
        raise click.UsageError(f"give either --spine or {', '.join(grid)}, not --spine and {given[0]}")
    if missing := [name for name, value in (grid if given else spine).items() if value is None]:
        raise click.UsageError(f"give {' with '.join(spine)}, or {', '.join(grid)}: {missing[0]} is missing")


def _pins(snapshots: tuple[str, ...]) -> dict[str, int | None] | None:
    pins: dict[str, int | None] = {}
    for pin in snapshots:
        table, _, snapshot = pin.partition("=")
        if not table or not re.fullmatch("[0-9]{1,19}", snapshot):
            raise click.BadParameter(f"{pin!r} is not TABLE=ID, such as orders_v1=123", param_hint="--snapshot")
        pins[table] = int(snapshot)
    return pins or None


def _split(given: tuple[str, ...]) -> dict[str, float | str | None] | None:
    parts: dict[str, float | str | None] = {}
    for part in given:
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{part!r} is not PART=SHARE or PART=TIME, such as train=0.8", param_hint="--split")
        try:
            parts[name] = float(value)
        except ValueError:
            parts[name] = value or None
    return parts or None


def _bar() -> AbstractContextManager["OnBuildProgress | None"]:
    """A bar over the rows, where someone watches."""
    screen = console(stderr=True)
    if context.as_json() or not screen.is_terminal:
        return nullcontext()
    # Here and not above, as in `write`.
    from featurestore import bars  # noqa: PLC0415

    return bars.training_set(screen)


def _show(made: "TrainingSet", out: Path | None) -> None:
    manifest = made.manifest
    if context.as_json():
        print_json({**manifest, "out": None if out is None else str(out)})
        return
    facts = {
        "training set": f"[bold]{escape(made.id)}[/]",
        "rows": count(manifest["rows"]),
        "features": count(len(made.features)),
        "digest": made.digest,
        **{f"snapshot of {table}": str(snapshot or "none: the table has no rows") for table, snapshot in made.snapshots.items()},
    }
    if manifest.get("split"):
        facts["split"] = escape(", ".join(f"{name} {count(rows)}" for name, rows in manifest["split"]["rows"].items()))
    empty = [name for name, nulls in manifest["nulls"].items() if nulls == manifest["rows"] and nulls]
    if empty:
        facts["NULL in every row"] = f"[yellow]{escape(', '.join(empty))}[/]"
    if out is not None:
        facts["written to"] = escape(str(out))
    print_facts(facts)
    for warning in manifest["warnings"]:
        note(f"[yellow]warning[/]  {escape(warning)}")
