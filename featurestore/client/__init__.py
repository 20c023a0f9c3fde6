"""The feature store over HTTP: `connect` gives the same verbs, and the same errors."""

from featurestore.client.store import RemoteStore, connect

__all__ = ["RemoteStore", "connect"]
