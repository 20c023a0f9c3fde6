"""`training-set` and `rebuild`: join a spine with features as of each row's time, and verify the result."""

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
from featurestore.values.humanize import format_count

if TYPE_CHECKING:
    from featurestore.pipelines.training_sets.progress import OnBuildProgress
    from featurestore.pipelines.training_sets.training_set import TrainingSet
    from featurestore.values.arguments import Snapshots


@click.command(cls=Command)
@click.argument("service")
@click.option("--spine", metavar="ROWS", help="A Parquet or CSV file or glob, iceberg:namespace.table[@snapshot], or a SELECT.")
@csv_format.option
@click.option("--timestamp", metavar="COLUMN", help="The timestamp column of the spine.")
@click.option("--start", metavar="TIME", help="Without --spine: first time of the grid.")
@click.option("--every", metavar="DURATION", help="Without --spine: step of the grid, such as 1d.")
@click.option("--end", metavar="TIME", help="Without --spine: last time of the grid, inclusive.")
@click.option("--label", metavar="COLUMN", help="The label column of the spine.")
@click.option("--name", help="Name of the training set; default: that of the service.")
@click.option(
    "--known",
    type=click.Choice(["now", "then"]),
    default="now",
    show_default=True,
    help="now: include later corrections; then: only what was known at each row's time.",
)
@click.option(
    "--snapshot",
    "snapshots",
    multiple=True,
    metavar="TABLE=ID|@TAG",
    help="Pin a feature table, such as orders_v1=123 or orders_v1=@release-2026-11, or all at a tag; repeatable.",
)
@click.option(
    "--split",
    multiple=True,
    metavar="PART=FRACTION|TIME",
    help="A part by its fraction of the rows, train=0.8, or its end, train=2026-03-01; test= for the rest; repeatable.",
)
@click.option(
    "--by",
    multiple=True,
    metavar="COLUMN",
    help="Split by a hash of this column; default: the keys of the service; repeatable.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the rows to this Parquet file.")
@context.store_options
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

    The rows are those of a spine (--spine, --timestamp), or every key at each time of a grid (--start, --end, --every).
    Each row appears once and in order, with its features as of its time. The same request on the same snapshots returns
    the same training set.
    """
    pins, parts, form = _pins(snapshots), _split(split), csv_format.parse_format(written)
    _check_rows({"--spine": spine, "--timestamp": timestamp}, {"--start": start, "--every": every, "--end": end})
    with context.store() as store:
        then: Literal["now", "then"] = "then" if known == "then" else "now"
        arguments = (service, spine, timestamp, label, name, then, pins, parts, by or None, start, end, every)
        with _bar() as report:
            made = store.training_set(*arguments, progress=report, format=form)
        if out is not None:
            write(made, out)
    _show(made, out)


@click.command(cls=Command)
@click.argument("id_or_model_uri", metavar="ID|MODEL_URI")
@context.store_options
def rebuild(id_or_model_uri: str) -> None:
    """Rebuild a training set and verify its digest.

    Computes it again from its pinned snapshots alone. A model URI, such as models:/churn/3, stands for the training set
    that the model was trained on. If anything differs, prints the columns and exits with status 1.
    """
    with context.store() as store:
        rebuilt = store.rebuild(id_or_model_uri)
    if context.as_json():
        print_json({"id": rebuilt.id, "verified": True, "digest": rebuilt.digest, "rows": rebuilt.manifest["rows"]})
        return
    say(f"[green]identical, bit for bit[/]  {escape(rebuilt.id)}, {format_count(rebuilt.manifest['rows'])} rows")
    say(f"[dim]digest {rebuilt.digest}[/]")


def write(made: "TrainingSet", path: Path) -> None:
    """Write the rows to a Parquet file, batch by batch. Raises: RequestError if it cannot be written."""
    # Imported here, since pyarrow would slow down `--help`.
    from featurestore.cli.files import write_parquet  # noqa: PLC0415

    write_parquet(made.read(), path)


def _check_rows(spine: Mapping[str, str | None], grid: Mapping[str, str | None]) -> None:
    """Require either a spine or a grid, with all its options: the check that the Python API makes, in terms of options."""
    given_options = [name for name, value in grid.items() if value is not None]
    if spine["--spine"] is not None and given_options:
        raise click.UsageError(f"give either --spine or {', '.join(grid)}, not --spine and {given_options[0]}")
    if missing := [name for name, value in (grid if given_options else spine).items() if value is None]:
        raise click.UsageError(f"give {' with '.join(spine)}, or {', '.join(grid)}: {missing[0]} is missing")


def _pins(snapshots: tuple[str, ...]) -> "Snapshots | None":
    if len(snapshots) == 1 and snapshots[0].startswith("@"):
        return snapshots[0]
    pins: dict[str, int | str | None] = {}
    for pin in snapshots:
        table, _, snapshot = pin.partition("=")
        if not table or not re.fullmatch("[0-9]{1,19}|@.+", snapshot):
            message = f"{pin!r} is not TABLE=ID, such as orders_v1=123, nor a tag for all tables, such as @release-2026-11"
            raise click.BadParameter(message, param_hint="--snapshot")
        pins[table] = snapshot if snapshot.startswith("@") else int(snapshot)
    return pins or None


def _split(texts: tuple[str, ...]) -> dict[str, float | str | None] | None:
    parts: dict[str, float | str | None] = {}
    for part in texts:
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{part!r} is not PART=FRACTION or PART=TIME, such as train=0.8", param_hint="--split")
        try:
            parts[name] = float(value)
        except ValueError:
            parts[name] = value or None
    return parts or None


def _bar() -> AbstractContextManager["OnBuildProgress | None"]:
    """A progress bar over the rows, if stderr is a terminal."""
    screen = console(stderr=True)
    if context.as_json() or not screen.is_terminal:
        return nullcontext()
    # Imported here, as in `write`.
    from featurestore import bars  # noqa: PLC0415

    return bars.training_set_bar(screen)


def _show(made: "TrainingSet", out: Path | None) -> None:
    manifest = made.manifest
    if context.as_json():
        print_json({**manifest, "out": None if out is None else str(out)})
        return
    facts = {
        "training set": f"[bold]{escape(made.id)}[/]",
        "rows": format_count(manifest["rows"]),
        "features": format_count(len(made.features)),
        "digest": made.digest,
        **{f"snapshot of {table}": str(snapshot or "none: the table has no rows") for table, snapshot in made.snapshots.items()},
    }
    if manifest.get("split"):
        facts["split"] = escape(", ".join(f"{name} {format_count(rows)}" for name, rows in manifest["split"]["rows"].items()))
    empty = [name for name, nulls in manifest["nulls"].items() if nulls == manifest["rows"] and nulls]
    if empty:
        facts["NULL in every row"] = f"[yellow]{escape(', '.join(empty))}[/]"
    if out is not None:
        facts["written to"] = escape(str(out))
    print_facts(facts)
    for warning in manifest["warnings"]:
        note(f"[yellow]warning[/]  {escape(warning)}")
