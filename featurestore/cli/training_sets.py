"""`training-set` and `rebuild`: joining a spine with features as of each row's time, and proving it again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import console, count, note, print_facts, print_json, say

if TYPE_CHECKING:
    from featurestore.pipelines.training_set import TrainingSet


@click.command(cls=Command)
@click.argument("service")
@click.option("--spine", required=True, metavar="ROWS", help="A Parquet file or glob, iceberg:namespace.table[@snapshot], or a SELECT.")
@click.option("--timestamp", required=True, metavar="COLUMN", help="The spine's column with each row's time.")
@click.option("--label", metavar="COLUMN", help="The spine's column to learn.")
@click.option("--name", help="The training set's name; the service's when left out.")
@click.option(
    "--known", type=click.Choice(["now", "then"]), default="now", show_default=True, help="With the latest corrections, or as known then."
)
@click.option(
    "--snapshot", "snapshots", multiple=True, metavar="TABLE=ID", help="Pin a feature table, such as orders_v1=123; may be repeated."
)
@click.option(
    "--split", "split", multiple=True, metavar="PART=SHARE|TIME", help="Cut into parts: train=0.8 or train=2026-03-01; repeat it."
)
@click.option("--by", multiple=True, metavar="COLUMN", help="What shares go by; the service's keys when left out; may be repeated.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the rows to this Parquet file.")
@context.shared
def training_set(
    service: str,
    spine: str,
    timestamp: str,
    label: str | None,
    name: str | None,
    known: str,
    snapshots: tuple[str, ...],
    split: tuple[str, ...],
    by: tuple[str, ...],
    out: Path | None,
) -> None:
    """Join rows with features as of each row's time.

    Every row of the spine comes out once and in order, with the features as they were at its time. The same request on
    the same snapshots gives the same training set.
    """
    pins, parts = _pins(snapshots), _split(split)
    with context.store() as store:
        then: Literal["now", "then"] = "then" if known == "then" else "now"
        prepared = store.prepare_training_set(service, spine, timestamp, label, name, then, pins, parts, by or None)
        with _bar(prepared.spine.table.num_rows) as report:
            made = store.build_training_set(prepared, report)
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


def _pins(snapshots: tuple[str, ...]) -> dict[str, int | None] | None:
    pins: dict[str, int | None] = {}
    for pin in snapshots:
        table, _, snapshot = pin.partition("=")
        if not table or not snapshot.isdigit():
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


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None] | None]:
    """A bar over the rows, where someone watches."""
    screen = console(stderr=True)
    if context.as_json() or not screen.is_terminal:
        yield None
        return
    with Progress(
        TextColumn("joining"), BarColumn(24), MofNCompleteColumn(), TextColumn("rows"), TimeElapsedColumn(), console=screen, transient=True
    ) as progress:
        task = progress.add_task("join", total=total)
        yield lambda rows: progress.update(task, completed=rows)


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
