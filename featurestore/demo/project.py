"""Train the demo's model in an MLflow run: the entry point of the MLproject file, `mlflow run . --env-manager local -P iterations=20`."""

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from featurestore import models
from featurestore.demo import learning, main, spine, story
from featurestore.demo.narrator import Narrator
from featurestore.models.mlflow_access.mlflow_client import mlflow
from featurestore.store import FeatureStore


def train(home: Path, iterations: int, name: str, console: Console) -> Any:
    """Fill the store in a folder where it is not filled, and log a model to the run of the project, or a new one; returns its ModelInfo."""
    narrator, results = Narrator(console), story.Results()
    with FeatureStore(home=home) as store:
        story.fill_lake(store, narrator, results)
        story.define(store, main.definitions(), narrator)
        story.materialize(store, narrator, results)
        training = story.build_training_set(store, narrator, results)
        with narrator.step(f"Train {iterations} trees on nine months, and log the model"):
            trained = learning.train(training.to_pandas(), [*spine.REQUEST, *training.features], iterations)
            # MLflow names the run of the project in the environment, and has logged its parameters.
            with mlflow.start_run(run_name=name):
                info = models.log_model(
                    trained.model,
                    training_set=training,
                    name=name,
                    registered_model_name=name,
                    metrics={"holdout_auc": trained.auc},
                    pyfunc_predict_fn="predict_proba",
                )
            narrator.say(f"models:/{name}/{info.registered_model_version}, hold-out AUC {trained.auc:.3f}")
    return info


@click.command()
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), default=Path(".featurestore/demo"), show_default=True)
@click.option("--iterations", type=click.IntRange(1, 10_000), default=learning.ITERATIONS, show_default=True)
@click.option("--name", default=spine.SERVICE, show_default=True, help="The registered model.")
def command(home: Path, iterations: int, name: str) -> None:
    """Train the demo's model of departure delays, and log it with its stamp."""
    train(home.absolute(), iterations, name, Console())


if __name__ == "__main__":
    command()
