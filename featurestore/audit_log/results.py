"""What the audit log returns."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class AuditEntry(Result):
    """Something that was done, or refused. `status` is the HTTP status; None for what was no request. `error` None: it was done."""

    time: datetime
    principal: str
    action: str
    objects: tuple[str, ...]
    status: int | None
    error: str | None
    key: str | None
    request_id: str | None
    scope: dict[str, Any] | None
    entities: tuple[str, ...]
    chain: str
    number: int


@dataclass(frozen=True, eq=False)
class ChainHead(Result):
    """The last entry of a chain: what comes before it cannot change without another hash."""

    chain: str
    number: int
    hash: str


@dataclass(frozen=True, eq=False)
class AuditProblem(Result):
    """A place where the log is not what was written: the number of an entry in a chain, and what is wrong with it."""

    chain: str
    number: int
    what: str


@dataclass(frozen=True, eq=False)
class AuditVerification(Result):
    """Whether the log is whole. `problems` are in the order of chains and numbers, at most 100; `entries` counts all, once each."""

    verified: bool
    chains: int
    entries: int
    problems: tuple[AuditProblem, ...]
