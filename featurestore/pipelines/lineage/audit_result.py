"""The results of audits, promotions and replays: chains of links, each verified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from featurestore.values.result import Result


@dataclass(frozen=True, eq=False)
class Link(Result):
    """A link of the chain from raw tables to predictions.

    `kind` is source, view, training set, run, dataset, model, alias, traffic or predictions; `facts` is what is known of it, `verified`
    what was checked and is as it was, `problems` what is not; then the link is broken.
    """

    kind: str
    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    verified: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The kind and the name."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, eq=False)
class Audit(Result):
    """The chain behind a version of a model, from raw tables to predictions; `deep`: its training set was computed again.

    `broken` has the titles of the links with problems; empty if the whole chain was verified.
    """

    uri: str
    model: str
    version: str | None
    at: datetime
    deep: bool
    links: tuple[Link, ...]
    broken: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class AliasChange(Result):
    """A change of an alias of a registered model, or of the stage of a version.

    `version` is the version after the change, `before` the one before; None: no version. `used` has the values of the requirement's
    metrics, `changed` is False if everything was so before; then nothing was recorded.
    """

    action: str
    model: str
    version: str | None
    alias: str | None
    before: str | None
    approver: str
    reason: str | None
    require: str | None
    used: Mapping[str, float]
    verified: tuple[str, ...]
    changed: bool
    at: datetime
