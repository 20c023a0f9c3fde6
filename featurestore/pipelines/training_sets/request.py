"""The request of a training set: the arguments of `training_set`, checked once, which then travel together."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from featurestore.errors import RequestError
from featurestore.pipelines.training_sets.splits import Split, SplitRequest, parse_split
from featurestore.records.names import service_name
from featurestore.spines.join_request import JoinRequest, snapshots_of_texts
from featurestore.values.arguments import check_text
from featurestore.values.coercion import quote_value

MAX_NAME_LENGTH = 128
"""Longest name of a training set, as for other objects: folders and tables are named after it."""
_NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{MAX_NAME_LENGTH - 1}}}")


@dataclass(frozen=True, kw_only=True)
class TrainingSetRequest(JoinRequest):
    """A join to store: under `name` (default: the service's), with a `label` column, and split into parts. `exclude` names columns
    that are not inputs of a model.

    Raises: RequestError naming the argument.
    """

    label: str | None = None
    name: str = ""
    split: Split | None = None
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.label is not None:
            check_text(self.label, "label")
        if self.name != self.service:
            # A service is named by its definition: for another name there is no service.
            _check_name(self.name)

    @classmethod
    def of(
        cls,
        service: str,
        spine: Any = None,
        timestamp: str | None = None,
        *,
        name: str | None = None,
        split: SplitRequest | None = None,
        by: str | Sequence[str] | None = None,
        **arguments: Any,
    ) -> Self:
        """The request of the arguments of `training_set`. Raises: RequestError naming the argument."""
        parts = parse_split(split, by)
        named = service_name(service) if name is None else name
        return super().of(service, spine, timestamp, name=named, split=parts, **arguments)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The request that `to_dict` wrote, without its spine."""
        snapshots = snapshots_of_texts(document["snapshots"]) or {}
        split = parse_split(document["split"], document["by"])
        kept = {name: document[name] for name in ("service", "timestamp", "known", "label", "name")}
        return cls(**kept, spine=None, snapshots=snapshots, split=split, exclude=tuple(document.get("exclude", ())))

    def to_dict(self) -> dict[str, Any]:
        """All but the spine, JSON-ready: snapshot ids and times as text."""
        split = self.split
        parts = None if split is None else split.request()
        by = None if split is None or not split.by else list(split.by)
        return {**super().to_dict(), "label": self.label, "name": self.name, "split": parts, "by": by, "exclude": list(self.exclude)}


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(
            f"{quote_value(name)} is not a valid name for a training set: use letters, digits, _ and -, starting with a letter, at most"
            f" {MAX_NAME_LENGTH} characters",
            field="name",
        )
