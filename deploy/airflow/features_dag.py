"""An Airflow DAG that materializes every hour, and one that maintains every night. Put it into Airflow's folder of DAGs.

The program and its settings are those of the worker: FEATURESTORE_HOME, or FEATURESTORE_URL and FEATURESTORE_TOKEN for a server.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

LEASE_HELD = 3
"""The exit status when other processes were updating all that is missing: the task is skipped, and not tried again."""
OPTIONS = {
    "start_date": datetime(2026, 1, 1, tzinfo=UTC),
    # A run computes all that was missed: there is nothing to catch up with.
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
}

with DAG("features_materialize", schedule="15 * * * *", **OPTIONS):
    BashOperator(task_id="materialize", bash_command="featurestore materialize --json", append_env=True, skip_on_exit_code=LEASE_HELD)

with DAG("features_maintain", schedule="30 3 * * *", **OPTIONS):
    BashOperator(task_id="maintain", bash_command="featurestore maintain --json", append_env=True, skip_on_exit_code=LEASE_HELD)
