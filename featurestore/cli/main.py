"""The `featurestore` command: its subcommands as an explicit list, and the mapping of errors to exit statuses."""

from collections.abc import Mapping
from typing import Any

import click

from featurestore.cli.context import as_json, home_option, url_option
from featurestore.cli.help import Group
from featurestore.errors import FeatureStoreError, LeaseHeld

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Get started": {
        "init": ("featurestore.cli.init", "Write a small example project."),
        "demo": ("featurestore.cli.demo", "Run the whole workflow on a year of flights."),
        "doctor": ("featurestore.cli.doctor", "Check settings, stores, disk and versions."),
    },
    "Define": {
        "plan": ("featurestore.cli.definitions", "Show what applying the definitions would change."),
        "apply": ("featurestore.cli.definitions", "Register definitions and create their tables."),
        "remove": ("featurestore.cli.removal", "Remove a view, a version, a service or a training set."),
    },
    "Materialize": {
        "materialize": ("featurestore.cli.materialize", "Update views, in their tables and online."),
        "write": ("featurestore.cli.history", "Write the rows of a file to a table, by its keys."),
        "push": ("featurestore.cli.push", "Push the rows of a file to a source."),
        "publish": ("featurestore.cli.publish", "Publish feature tables to the online store."),
        "verify-online": ("featurestore.cli.verify_online", "Compare the online store with the feature tables."),
        "maintain": ("featurestore.cli.maintain", "Compact files, expire snapshots, remove orphan files."),
    },
    "Train": {
        "training-set": ("featurestore.cli.training_sets", "Join rows with features as of each row's time."),
        "rebuild": ("featurestore.cli.training_sets", "Rebuild a training set and verify its digest."),
        "diff": ("featurestore.cli.diff", "Compare two training sets."),
    },
    "Serve": {
        "online": ("featurestore.cli.online", "Look up the newest features of an entity."),
        "score": ("featurestore.cli.models", "Score rows with a logged model."),
        "serve": ("featurestore.cli.serve", "Serve the store over HTTP."),
    },
    "Govern": {
        "tag": ("featurestore.cli.tag", "Pin the current snapshots of tables under a name."),
        "tags": ("featurestore.cli.tag", "List the tags, or show the snapshots of one."),
        "erase": ("featurestore.cli.erase", "Erase the rows of an entity's key from everything."),
        "erasures": ("featurestore.cli.erase", "List the certificates of erasures."),
        "promote": ("featurestore.cli.promotion", "Give an alias to a version of a model, if it is verified."),
        "demote": ("featurestore.cli.promotion", "Remove an alias of a model."),
        "rollback": ("featurestore.cli.promotion", "Give an alias back to the version that had it before."),
        "archive": ("featurestore.cli.promotion", "Mark a version of a model as not to be promoted."),
        "traffic": ("featurestore.cli.traffic", "Split the requests to a model among its aliases."),
        "compare-traffic": ("featurestore.cli.compare_traffic", "Compare the aliases that receive a model's traffic."),
        "replay": ("featurestore.cli.replay", "Compute a logged prediction again, and compare."),
        "audit": ("featurestore.cli.audit", "Verify the chain behind a model."),
        "audit-log": ("featurestore.cli.audit_log", "Show or verify who did what."),
        "grant": ("featurestore.cli.grant", "Grant a privilege on an object."),
        "revoke": ("featurestore.cli.grant", "Revoke a privilege on an object."),
        "key": ("featurestore.cli.key", "Create, list or revoke API keys."),
        "share": ("featurestore.cli.share", "Create, fill, list or drop shares."),
        "recipient": ("featurestore.cli.recipient", "Create, change, rotate, revoke or list recipients."),
    },
    "Inspect": {
        "show": ("featurestore.cli.show", "List objects of a type, or show one of them."),
        "history": ("featurestore.cli.history", "Show what happened to a table."),
        "lineage": ("featurestore.cli.lineage", "Show what a feature is computed from, and what from it."),
        "impact": ("featurestore.cli.impact", "Show what depends on a table or a column."),
    },
}

LEASE_HELD = 3
"""The exit status of a command that did nothing wrong, and did not do all: another process has the leases that were missing."""

EPILOG = """\b
Try it:
  featurestore init shop && cd shop
  featurestore apply && featurestore materialize
  featurestore online churn customer_id=13 --request basket=80
"""


class Main(Group):
    """The root command. A failed request prints its message and exits with status 1, incorrect usage with 2, and what another process
    is doing with LEASE_HELD.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except FeatureStoreError as error:
            # Imported here, since rich would slow down `--help`.
            from featurestore.cli.output import print_error  # noqa: PLC0415

            print_error(error, as_json())
            ctx.exit(LEASE_HELD if isinstance(error, LeaseHeld) else 1)


@click.group(cls=Main, sections=SECTIONS, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@home_option
@url_option
@click.version_option(package_name="featurestore", message="featurestore %(version)s")
def main() -> None:
    """A feature store on Apache Iceberg.

    Define features once, in Python files. Materialize them to versioned Iceberg tables, build point-in-time correct
    training sets, and look them up online.
    """
