"""Read the body of a lookup into keys and request fields by the types of the service, without an object per value."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

import msgspec

from featurestore.compiler.service_plan import ServicePlan
from featurestore.online.keys import encode_plain_keys
from featurestore.server.json_body import has_plain_numbers

_KEY_TYPES: dict[str, Any] = {
    "BOOLEAN": bool,
    "INTEGER": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "BIGINT": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "VARCHAR": str,
    "UUID": UUID,
}
"""The types of key columns whose values msgspec reads as the store does, or refuses."""
_FIELD_TYPES = {**{name: _KEY_TYPES[name] for name in ("BOOLEAN", "INTEGER", "BIGINT", "VARCHAR")}, "DOUBLE": float}
"""The same of request fields."""


class LookupBody(NamedTuple):
    """The encoded keys of each view and the values of each request field, for as many entities as there are."""

    keys: list[tuple[str, Sequence[bytes | None]]]
    fields: dict[str, list[Any]]
    entities: int


class LookupBodyReader:
    """Reads bodies of requests for one service plan. It may refuse a body that the ordinary route reads, never the other way around."""

    @classmethod
    def of(cls, plan: ServicePlan) -> Self | None:
        """A reader for a plan; None for one with keys or request fields of other types."""
        readable = set(plan.key_types.values()) <= _KEY_TYPES.keys() and {kind for _, kind in plan.request} <= _FIELD_TYPES.keys()
        return cls(plan) if readable else None

    def __init__(self, plan: ServicePlan) -> None:
        keys = [(column, _KEY_TYPES[plan.key_types[column]] | None) for column in plan.entity_columns]
        fields = [(name, _FIELD_TYPES[sql_type] | None) for name, sql_type in plan.request]
        parts = [("entities", list[_struct(keys)])]  # type: ignore[misc]
        if fields:
            parts.append(("request", list[_struct(fields)]))  # type: ignore[misc]
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(
            msgspec.defstruct("Body", parts, forbid_unknown_fields=True, gc=False)
        ).decode
        # A name comes once for each entity, unless it comes twice, or is part of a value.
        self._quoted = [msgspec.json.encode(name) for name, _ in (*keys, *fields)]
        self._parts = [f'"{name}"'.encode() for name, _ in parts]
        attributes = {column: f"f{index}" for index, (column, _) in enumerate(keys)}
        self._uses = [(use.table, tuple(attributes[column] for _, column in use.keys)) for use in plan.uses]
        self._uuids = {attributes[column] for column, _ in keys if plan.key_types[column] == "UUID"}
        self._fields = [(name, f"f{index}") for index, (name, _) in enumerate(fields)]
        self._has_doubles = any(sql_type == "DOUBLE" for _, sql_type in plan.request)

    def read(self, content: bytes) -> LookupBody | None:
        """The keys and fields; None for a body that is wrong, or that only the ordinary route reads."""
        if b"\\" in content or any(content.count(part) != 1 for part in self._parts):
            return None
        # To msgspec, -0 is a double with a sign, and to the ordinary route an integer without one.
        if self._has_doubles and (b"-0" in content or not has_plain_numbers(content)):
            return None
        try:
            body = self._decode(content)
        except msgspec.MsgspecError:
            return None
        count = len(body.entities)
        if not count or any(content.count(name) != count for name in self._quoted) or (self._fields and len(body.request) != count):
            return None
        encoded: dict[tuple[str, ...], Sequence[bytes | None]] = {}
        for _, attributes in self._uses:
            if attributes not in encoded:
                encoded[attributes] = encode_plain_keys([self._key_column(body.entities, attribute) for attribute in attributes])
        fields = {name: [getattr(row, attribute) for row in body.request] for name, attribute in self._fields}
        return LookupBody([(table, encoded[attributes]) for table, attributes in self._uses], fields, count)

    def _key_column(self, entities: Sequence[Any], attribute: str) -> list[Any]:
        values = [getattr(entity, attribute) for entity in entities]
        return [None if value is None else str(value) for value in values] if attribute in self._uuids else values


def _struct(fields: Sequence[tuple[str, Any]]) -> type[msgspec.Struct]:
    """A type of objects with these fields, all of them required, and the attributes f0, f1, ... in this order."""
    attributes = [(f"f{index}", kind) for index, (_, kind) in enumerate(fields)]
    names = {f"f{index}": name for index, (name, _) in enumerate(fields)}
    return msgspec.defstruct("Row", attributes, rename=names, forbid_unknown_fields=True, gc=False)
