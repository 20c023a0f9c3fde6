"""The feature store: its methods, wired to the pipelines that implement them."""

from featurestore.store.feature_store import FeatureStore, confine, read_as
from featurestore.store.principal import PrincipalStore

__all__ = ["FeatureStore", "PrincipalStore", "confine", "read_as"]
