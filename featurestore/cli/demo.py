"""`demo`: the whole of it on a year of flights."""

import click

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import console, print_json


@click.command(cls=Command)
@context.local
def demo() -> None:
    """See all of it on a year of flights.

    Raw tables, features, a training set, a model stamped with its snapshots, and predictions from a running server. Lies
    in demo/ of the home folder, or in the folder that --home names; a second run goes on with what is there.
    """
    # Here and not above: it needs pandas, scikit-learn and MLflow.
    from featurestore.demo.main import run  # noqa: PLC0415

    folder = context.home() or context.settings().home_path() / "demo"
    found = run(folder, console(stderr=context.as_json()))
    if context.as_json():
        print_json(found)
