"""Response bodies of the audit log."""

from typing import Any

from featurestore.server.responses.answer import Answer


class AuditEntry(Answer):
    """Something that was done, or refused. `error` null: it was done."""

    time: str
    principal: str
    action: str
    objects: list[str]
    status: int | None
    error: str | None
    key: str | None
    request_id: str | None
    scope: dict[str, Any] | None
    entities: list[str]
    chain: str
    number: int


class ChainHead(Answer):
    """The last entry of a chain."""

    chain: str
    number: int
    hash: str


class AuditProblem(Answer):
    """A place where the log is not what was written."""

    chain: str
    number: int
    what: str


class AuditVerification(Answer):
    """Whether the log is whole."""

    verified: bool
    chains: int
    entries: int
    problems: list[AuditProblem]
