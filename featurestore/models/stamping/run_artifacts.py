"""The artifacts of a run that say what its model was trained on: split, statistics, leak certificate, and a picture of distributions."""

import json
import tempfile
from pathlib import Path

from featurestore.models.mlflow_access.mlflow_client import mlflow
from featurestore.models.stamping.distributions import draw_distributions
from featurestore.pipelines.training_sets.training_set import TrainingSet

FOLDER = "training_set"
"""The folder in the artifacts of the run; other training sets of the run have theirs in folders with their ids below it."""


def log_training_set(run_id: str, training_set: TrainingSet) -> None:
    """Log the artifacts of a training set to a run, in one folder named after its id: they can be read without the store."""
    manifest, statistics = training_set.manifest, training_set.statistics
    split = None if manifest["split"] is None else {**manifest["split"], "part": training_set.part}
    documents = {
        "split.json": split,
        "statistics.json": statistics,
        "leak_certificate.json": {
            "training_set": training_set.id,
            "digest": training_set.digest,
            "views": manifest["leak_certificate"],
            "warnings": manifest["warnings"],
        },
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name, document in documents.items():
            if document is not None:
                Path(scratch, name).write_text(json.dumps(document, indent=1))
        Path(scratch, "distributions.svg").write_text(draw_distributions(training_set.id, statistics, training_set.label))
        mlflow.MlflowClient().log_artifacts(run_id, scratch, f"{FOLDER}/{training_set.id}")
