"""A store as one principal may use it."""

from featurestore.store.principal.base import Requirement
from featurestore.store.principal.store import PrincipalStore

__all__ = ["PrincipalStore", "Requirement"]
