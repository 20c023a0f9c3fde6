"""Dagster definitions: an asset for each view, brought up to date every hour. Run `dagster dev -f features.py`.

The program and its settings are those of the process that runs: FEATURESTORE_HOME, or FEATURESTORE_URL and FEATURESTORE_TOKEN for a server.
"""

import json
import subprocess

import dagster as dg

VIEWS = ("customer_orders", "customer_profile")
LEASE_HELD = 3
"""The exit status when another process is updating the view: the run asks again later."""


def materialize(context: dg.AssetExecutionContext, view: str) -> dg.MaterializeResult:
    """Bring a view up to date, and record what the run reports."""
    command = ["featurestore", "materialize", view, "--json", "--wait", "0s"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == LEASE_HELD:
        raise dg.RetryRequested(max_retries=5, seconds_to_wait=60)
    if done.returncode != 0:
        # Its error was written to stderr, which Dagster shows.
        raise dg.Failure(f"featurestore materialize {view} ended with status {done.returncode}")
    newest = json.loads(done.stdout)[0]
    facts = ("rows_appended", "corrections", "published", "end", "snapshot_id")
    return dg.MaterializeResult(metadata={name: newest[name] for name in facts if newest[name] is not None})


def asset_of(view: str) -> dg.AssetsDefinition:
    """The asset of a view."""

    @dg.asset(name=view, group_name="features")
    def updated(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return materialize(context, view)

    return updated


assets = [asset_of(view) for view in VIEWS]
job = dg.define_asset_job("features", selection=dg.AssetSelection.assets(*assets))
definitions = dg.Definitions(assets=assets, jobs=[job], schedules=[dg.ScheduleDefinition(job=job, cron_schedule="15 * * * *")])
