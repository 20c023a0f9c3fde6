"""`score`: predictions of a logged model for many rows."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from rich.markup import escape

from featurestore.cli import context, csv_format
from featurestore.cli.help import Command
from featurestore.cli.output import print_facts, print_json, print_table, say
from featurestore.values.humanize import format_count

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore
    from featurestore.dsl.csv_format import Csv
    from featurestore.store import FeatureStore

SHOWN = 5


@click.command(cls=Command)
@click.argument("model_uri")
@click.option("--spine", required=True, metavar="ROWS", help="Parquet or CSV files, iceberg:namespace.table[@snapshot], or a SELECT.")
@csv_format.option
@click.option("--at", metavar="WHEN", help="online, training, @TAG, or a time; default: each row's own timestamp.")
@click.option("--save", is_flag=True, help="Write the rows to the model's inference table instead of printing them.")
@click.option("--run-id", metavar="ID", help="With --save: an id of this run; a second run with it adds nothing.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write rows, features and predictions to this Parquet file.")
@context.store_options
def score(model_uri: str, spine: str, written: tuple[str, ...], at: str | None, save: bool, run_id: str | None, out: Path | None) -> None:
    """Score rows with a logged model.

    MODEL_URI is an MLflow URI, such as models:/churn/3 or models:/churn@champion. Features are looked up at the versions
    that the model was trained on. Without --out and --save, the first rows are printed. With --save, the spine may be larger
    than memory. With --url, only registered models, a spine in files and --at online are supported.
    """
    # Imported here: MLflow takes a second to import, pyarrow a fraction of one.
    from featurestore.cli.files import write_parquet  # noqa: PLC0415

    file_format = csv_format.parse_format(written)
    if save or run_id is not None:
        _save(model_uri, spine, at, out, save=save, run_id=run_id, file_format=file_format)
        return
    with context.store() as store:
        if context.url() is None:
            from featurestore import models  # noqa: PLC0415

            rows = models.score(model_uri, spine, at, store=cast("FeatureStore", store), format=file_format)
        else:
            rows = cast("RemoteStore", store).score(model_uri, spine, at, format=file_format)
    if out is not None:
        write_parquet(rows.to_reader(), out)
    first = rows.slice(0, SHOWN).to_pylist()
    if context.as_json():
        print_json({"rows": rows.num_rows, "out": None if out is None else str(out), "first": first})
        return
    print_facts({"rows": format_count(rows.num_rows), **({} if out is None else {"written to": escape(str(out))})})
    if out is None:
        print_table(rows.schema.names, [[escape(str(value)) for value in row.values()] for row in first])


def _save(
    model_uri: str, spine: str, at: str | None, out: Path | None, *, save: bool, run_id: str | None, file_format: "Csv | None"
) -> None:
    if not save:
        raise click.UsageError("--run-id names rows that are written; give --save too")
    if out is not None:
        raise click.UsageError("give --save, which writes to the inference table, or --out, which writes a file; not both")
    if context.url() is not None:
        raise click.UsageError("--save writes to the catalog of a store; a server keeps its predictions by its setting prediction_log")
    # As above.
    from featurestore import models  # noqa: PLC0415

    shown = not context.as_json() and sys.stderr.isatty()
    with context.store() as store:
        done = models.score(
            model_uri, spine, at, save=True, run_id=run_id, store=cast("FeatureStore", store), format=file_format, progress=shown
        )
    if context.as_json():
        print_json(done)
        return
    if done.snapshot_id is None:
        by = "" if done.model is None else f" by {done.model} {done.version or ''}".rstrip()
        why = (
            f"run {run_id} was written before{by}; to write other predictions, such as those of another version, give another --run-id"
            if done.repeated
            else "the spine has no rows"
        )
        say(f"nothing was written to {escape(done.table)}: {escape(why)}")
        return
    facts = {"rows": format_count(done.rows), "table": escape(done.table), "snapshot": str(done.snapshot_id)}
    print_facts({**facts, "model": escape(f"{done.model} {done.version or ''}".strip()), "seconds": f"{done.seconds:.1f}"})
