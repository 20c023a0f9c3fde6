"""Record what is done with a store in this process in its audit log, where that is on. A server records requests itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from featurestore.audit_log.log import AuditLog
    from featurestore.records.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")
StoreT = TypeVar("StoreT", bound="Audited")

OPERATOR = "operator"
"""The principal where the system does not say who runs this process."""
ENTITIES = 16
"""Entities up to which each has a keyed hash."""


class Audited(Protocol):
    """A store with its audit log, if it has one, and a runtime that names who uses it."""

    @property
    def _audit_log(self) -> AuditLog | None: ...

    @property
    def _runtime(self) -> Runtime: ...


_inside: ContextVar[bool] = ContextVar("inside a recorded method", default=False)


def recorded(verb: Callable[Concatenate[StoreT, P], T]) -> Callable[Concatenate[StoreT, P], T]:
    """The method, of which each call has an entry when it ends: who, what it names, and the type of its error. One that cannot be recorded
    raises OutOfResources or NotReady; where that is known before, nothing is done.
    """
    signature = inspect.signature(verb)

    @wraps(verb)
    def call(self: StoreT, /, *arguments: P.args, **named: P.kwargs) -> T:
        with recording(self, verb.__name__, lambda: _given(signature, self, arguments, named)):
            return verb(self, *arguments, **named)

    return call


@contextmanager
def recording(store: Audited, verb: str, given: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Record what is done in the block, unless that is part of something that is recorded. `given` returns its arguments by name.

    Raises: OutOfResources or NotReady, as `recorded`.
    """
    log = store._audit_log
    if log is None or _inside.get():
        yield
        return
    log.check()
    if log.refusal is not None:
        raise log.refusal
    token, error = _inside.set(True), None
    try:
        yield
    except BaseException as failed:
        error = type(failed).__name__
        raise
    finally:
        _inside.reset(token)
        _record(log, store._runtime.author or OPERATOR, verb, given(), error)


def _given(signature: inspect.Signature, store: object, arguments: Any, named: Any) -> Mapping[str, Any]:
    """The arguments by name; none of a call with wrong ones, which fails."""
    try:
        return signature.bind(store, *arguments, **named).arguments
    except TypeError:
        return {}


def _record(log: AuditLog, principal: str, verb: str, given: Mapping[str, Any], error: str | None) -> None:
    # Imported here: only stores with an audit log need it.
    from featurestore.audit_log.named import find_names  # noqa: PLC0415

    entities = given.get("entities")
    hashes: list[str] = []
    if isinstance(entities, list) and len(entities) <= ENTITIES and all(isinstance(keys, dict) for keys in entities):
        hashes = [log.digest_of_entity(keys) for keys in entities]
    log.record(principal, verb, scope=dict(find_names(given, log.catalog)) or None, error=error, entities=hashes)
    if log.waits_for_disk:
        log.sync()
