"""The store as whoever sends a request may use it: what routes hold in place of the store itself."""

from fastapi import Request

from featurestore.server.access.access import rights_of
from featurestore.store import FeatureStore, PrincipalStore


class Callers:
    """Routes that hold this cannot call a verb without the rights of their caller: the type checker would not find it."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def of(self, request: Request) -> PrincipalStore:
        """The verbs with the rights of whoever sends the request, as they are now: one request sees one state of grants and policies.

        Raises: Forbidden on a path that acts for nobody; NotReady if grants or policies cannot be read.
        """
        return PrincipalStore(self._store, rights_of(request.scope).frozen())
