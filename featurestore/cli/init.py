"""`init`: write a small, working project."""

from pathlib import Path

import click
from rich.markup import escape

from featurestore.cli import context
from featurestore.cli.example import TEXTS
from featurestore.cli.help import Command
from featurestore.cli.output import print_json, say
from featurestore.errors import RequestError
from featurestore.values.humanize import format_plural

NEXT = (
    ("featurestore plan", "show what would be created"),
    ("featurestore apply", "create it"),
    ("featurestore materialize", "fill the tables and the online store"),
    ("featurestore online churn customer_id=13 --request basket=80", "look features up"),
    ("featurestore training-set churn --spine data/observations.parquet --timestamp observed_at --label churned", ""),
    ("featurestore serve", "the same over HTTP"),
)


@click.command(cls=Command)
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
@context.local_options
def init(folder: Path) -> None:
    """Write a small example project.

    Writes settings, commented definitions and some rows of data to FOLDER, default: the current folder. Existing files are
    kept.
    """
    try:
        written, kept = _write(folder)
    except OSError as error:
        raise RequestError(f"cannot write to {folder}: {error.strerror or error}") from error
    if context.as_json():
        print_json({"folder": str(folder), "written": written, "kept": kept})
        return
    for name in written:
        say(f"[green]+[/] {escape(str(folder / name))}")
    for name in kept:
        say(f"[yellow]=[/] {escape(str(folder / name))} [dim]exists, kept[/]")
    say(f"\n{format_plural(len(written), 'file')} written. [dim]Next:[/]\n")
    here = [] if folder == Path() else [(f"cd {folder}", "")]
    for command, why in (*here, *NEXT):
        say(f"  [cyan]{escape(command).ljust(62)}[/]{f' [dim]# {why}[/]' if why else ''}")


def _write(folder: Path) -> tuple[list[str], list[str]]:
    """Write each file that does not exist. Returns the names of the written and of the kept files."""
    # Imported here, since pyarrow would slow down `--help`.
    from featurestore.cli.example_data import tables  # noqa: PLC0415
    from featurestore.cli.files import write_parquet  # noqa: PLC0415

    written: list[str] = []
    kept: list[str] = []
    for name, content in {**TEXTS, **tables()}.items():
        path = folder / name
        (kept if path.exists() else written).append(name)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        else:
            write_parquet(content.to_reader(), path)
    return written, kept
