"""Snapshots of the catalog as MLflow's datasets."""
