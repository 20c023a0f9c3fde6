"""Snapshots of the catalog as MLflow's datasets."""

# First: MLflow imports the modules of this package while it is itself imported, and would find unfinished the one that began that import.
import mlflow.data  # noqa: F401
