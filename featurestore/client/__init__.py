"""The feature store over HTTP: `connect` and `connect_async` give the same verbs, and the same errors."""

from featurestore.client.async_store import AsyncRemoteStore, connect_async
from featurestore.client.store import RemoteStore, connect

__all__ = ["AsyncRemoteStore", "RemoteStore", "connect", "connect_async"]
