"""The feature store: its methods, wired to the pipelines that implement them."""

from featurestore.store.feature_store import FeatureStore, confine

__all__ = ["FeatureStore", "confine"]
