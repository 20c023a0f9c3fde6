"""The `featurestore` command: its sub-commands in an explicit list, and the one place where errors become exit statuses."""

from collections.abc import Mapping
from typing import Any

import click

from featurestore.cli.context import as_json, home_option, url_option
from featurestore.cli.help import Group
from featurestore.errors import FeatureStoreError

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Begin": {
        "init": ("featurestore.cli.init", "Write a small example project."),
        "demo": ("featurestore.cli.demo", "See all of it on a year of flights."),
        "doctor": ("featurestore.cli.doctor", "Check settings, stores, disk and versions."),
    },
    "Define": {
        "plan": ("featurestore.cli.definitions", "Show what applying the definitions would change."),
        "apply": ("featurestore.cli.definitions", "Register definitions and make their tables."),
        "remove": ("featurestore.cli.removal", "Remove a view, one version of it, or a service."),
    },
    "Fill": {
        "materialize": ("featurestore.cli.materialize", "Bring views up to date, in their tables and online."),
        "publish": ("featurestore.cli.publish", "Bring the online store to the tables by hand."),
        "verify-online": ("featurestore.cli.verify_online", "Compare the online store with the tables."),
        "maintain": ("featurestore.cli.maintain", "Make few files of many; drop what nothing needs."),
    },
    "Train": {
        "training-set": ("featurestore.cli.training_sets", "Join rows with features as of each row's time."),
        "rebuild": ("featurestore.cli.training_sets", "Compute a training set again and compare."),
        "diff": ("featurestore.cli.diff", "Compare two training sets."),
    },
    "Use": {
        "online": ("featurestore.cli.online", "Look up the newest features of an entity."),
        "score": ("featurestore.cli.models", "Predict for many rows with a stamped model."),
        "serve": ("featurestore.cli.serve", "Serve the store over HTTP."),
    },
    "Look": {
        "show": ("featurestore.cli.show", "List what is there, or show one of it."),
    },
}

EPILOG = """\b
Try it:
  featurestore init shop && cd shop
  featurestore apply && featurestore materialize
  featurestore online churn customer_id=13 --request basket=80
"""


class Main(Group):
    """The root: a refused or wrong request ends with status 1 and its message, a wrong usage with 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except FeatureStoreError as error:
            # Here and not above: rich, which prints it, would make `--help` wait.
            from featurestore.cli.output import print_error  # noqa: PLC0415

            print_error(error, as_json())
            ctx.exit(1)


@click.group(cls=Main, sections=SECTIONS, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@home_option
@url_option
@click.version_option(package_name="featurestore", message="featurestore %(version)s")
def main() -> None:
    """A feature store on Apache Iceberg.

    Features are defined once, in Python files. They fill versioned Iceberg tables, make training sets as of each row's
    time, and answer lookups online.
    """
