"""Functions that change models, each with an entry in the audit log of its store, as methods of a store have."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from featurestore.models.stamps.store_access import check_store
from featurestore.store import FeatureStore
from featurestore.store.recorded import recording

P = ParamSpec("P")
T = TypeVar("T")


def recorded_change(change: Callable[P, T]) -> Callable[P, T]:
    """The function, with the store that it opens if `store` is None, and recorded there. Raises: as `recorded`."""
    signature = inspect.signature(change)

    @wraps(change)
    def call(*arguments: P.args, **named: P.kwargs) -> T:
        bound = signature.bind(*arguments, **named)
        store = bound.arguments.get("store")
        check_store(store)
        with FeatureStore() if store is None else nullcontext(store) as used:
            bound.arguments["store"] = used
            with recording(used, change.__name__, lambda: bound.arguments):
                return change(*bound.args, **bound.kwargs)

    return call
