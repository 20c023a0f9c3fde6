"""`score`: predictions of a logged model for many rows."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from rich.markup import escape

from featurestore.cli import context, csv_format
from featurestore.cli.help import Command
from featurestore.cli.output import print_facts, print_json, print_table
from featurestore.values.humanize import format_count

if TYPE_CHECKING:
    from featurestore.client.store import RemoteStore
    from featurestore.store import FeatureStore

SHOWN = 5


@click.command(cls=Command)
@click.argument("model_uri")
@click.option("--spine", required=True, metavar="ROWS", help="Parquet or CSV files, iceberg:namespace.table[@snapshot], or a SELECT.")
@csv_format.option
@click.option("--at", metavar="WHEN", help="online, training, or a time; default: each row's own timestamp.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write rows, features and predictions to this Parquet file.")
@context.shared
def score(model_uri: str, spine: str, written: tuple[str, ...], at: str | None, out: Path | None) -> None:
    """Score rows with a logged model.

    MODEL_URI is an MLflow URI, such as models:/churn/3 or models:/churn@champion. Features are looked up at the versions
    that the model was trained on. Without --out, the first rows are printed. With --url, only registered models, a spine
    in files and --at online are supported.
    """
    # Imported here: MLflow takes a second to import, pyarrow a fraction of one.
    from featurestore.cli.files import write_parquet  # noqa: PLC0415

    file_format = csv_format.parse_format(written)
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
