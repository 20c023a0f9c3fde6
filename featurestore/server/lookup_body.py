"""Read the body of a lookup into keys and request fields by the types of the service, without an object per value."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

import msgspec

from featurestore.compiler.service_plan import ServicePlan
from featurestore.online.keys import encode_plain_keys

_TYPES: dict[str, Any] = {
    "BOOLEAN": bool,
    "INTEGER": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "BIGINT": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "VARCHAR": str,
    "UUID": UUID,
}
"""The types of key columns whose values msgspec reads as the store does, or refuses."""


class LookupBody(NamedTuple):
    """The encoded keys of each view, for as many entities as there are."""

    keys: list[tuple[str, Sequence[bytes | None]]]
    entities: int


class LookupBodyReader:
    """Reads bodies of requests for one service plan. It may refuse a body that the ordinary route reads, never the other way around."""

    @classmethod
    def of(cls, plan: ServicePlan) -> Self | None:
        """A reader for a plan; None for one with derived features, request fields or keys of other types."""
        return None if plan.derived or plan.request or not set(plan.key_types.values()) <= _TYPES.keys() else cls(plan)

    def __init__(self, plan: ServicePlan) -> None:
        columns = plan.entity_columns
        fields = [(f"k{index}", _TYPES[plan.key_types[column]] | None) for index, column in enumerate(columns)]
        names = {f"k{index}": column for index, column in enumerate(columns)}
        entity = msgspec.defstruct("Entity", fields, rename=names, forbid_unknown_fields=True, gc=False)
        body = msgspec.defstruct("Body", [("entities", list[entity])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
        # A name of an entity's key comes once for each, unless one comes twice, or is part of a value.
        self._quoted = [msgspec.json.encode(column) for column in columns]
        self._uses = [(use.table, tuple(f"k{columns.index(column)}" for _, column in use.keys)) for use in plan.uses]
        self._texts = {f"k{index}" for index, column in enumerate(columns) if plan.key_types[column] == "UUID"}

    def read(self, content: bytes) -> LookupBody | None:
        """The keys; None for a body that is wrong, or that only the ordinary route reads."""
        if b"\\" in content or content.count(b'"entities"') != 1:
            return None
        try:
            entities = self._decode(content).entities
        except msgspec.MsgspecError:
            return None
        count = len(entities)
        if not count or any(content.count(name) != count for name in self._quoted):
            return None
        encoded: dict[tuple[str, ...], Sequence[bytes | None]] = {}
        for _, names in self._uses:
            if names not in encoded:
                encoded[names] = encode_plain_keys([self._column(entities, name) for name in names])
        return LookupBody([(table, encoded[names]) for table, names in self._uses], count)

    def _column(self, entities: Sequence[Any], name: str) -> list[Any]:
        values = [getattr(entity, name) for entity in entities]
        return [None if value is None else str(value) for value in values] if name in self._texts else values
