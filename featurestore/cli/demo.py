"""`demo`: the whole workflow on a year of flights."""

import click

from featurestore.cli import context
from featurestore.cli.help import Command
from featurestore.cli.output import console, print_json


@click.command(cls=Command)
@context.local_options
def demo() -> None:
    """Run the whole workflow on a year of flights.

    Raw tables, features, a training set, a logged model, and predictions from a running server. Writes to demo/ in the
    home folder, or to the folder given by --home; a second run reuses what the first one wrote.
    """
    # Imported here, since it needs pandas, scikit-learn and MLflow.
    from featurestore.demo.main import run  # noqa: PLC0415

    folder = context.home() or context.settings().home_path() / "demo"
    facts = run(folder, console(stderr=context.as_json()))
    if context.as_json():
        print_json(facts)
