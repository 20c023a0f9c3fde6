"""Read the body of a lookup into keys and request fields by the types of the service, without an object per value."""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Self
from uuid import UUID

import msgspec

from featurestore.compiler.service_plan import ServicePlan
from featurestore.errors import TypeMismatch
from featurestore.online.keys import encode_key, encode_plain_keys
from featurestore.server.json_body import has_plain_numbers
from featurestore.values.coercion import coerce
from featurestore.values.value_types import FLOATING, ZONED, type_name

_JSON_TYPES: dict[str, Any] = {
    "BOOLEAN": bool,
    "INTEGER": Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)],
    "BIGINT": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    "VARCHAR": str,
    "UUID": UUID,
    "DATE": str,
    ZONED: str,
    "DECIMAL": int | str,
    "DOUBLE": float,
    "FLOAT": float,
}
"""The JSON types that msgspec reads as the ordinary route does, or refuses, by the name of the column's type."""
_KEY_TYPES = _JSON_TYPES.keys() - FLOATING
_COERCED = frozenset({"DATE", ZONED, "DECIMAL", "FLOAT"})
"""Types whose values `coerce` makes of the JSON values, as on the ordinary route."""
_NUMBERS = frozenset({"DECIMAL", "DOUBLE", "FLOAT"})
_search_negative_zero = re.compile(rb"[:\[,\s]-0").search
"""To msgspec, -0 is a double with a sign, and to the ordinary route an integer without one. A minus in a text, as in dates, is none."""


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
        keys, fields = set(map(type_name, plan.key_types.values())), {type_name(sql_type) for _, sql_type in plan.request}
        return cls(plan) if keys <= _KEY_TYPES and fields <= _JSON_TYPES.keys() else None

    def __init__(self, plan: ServicePlan) -> None:
        keys = [(column, _JSON_TYPES[type_name(plan.key_types[column])] | None) for column in plan.entity_columns]
        fields = [(name, _JSON_TYPES[type_name(sql_type)] | None) for name, sql_type in plan.request]
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
        self._key_types = {attributes[column]: plan.key_types[column] for column in plan.entity_columns}
        self._coerced = {attribute for attribute, sql_type in self._key_types.items() if type_name(sql_type) in _COERCED}
        self._fields = [(name, f"f{index}", sql_type) for index, (name, sql_type) in enumerate(plan.request)]
        types = [*self._key_types.values(), *(sql_type for _, sql_type in plan.request)]
        self._has_numbers = any(type_name(sql_type) in _NUMBERS for sql_type in types)

    def read(self, content: bytes) -> LookupBody | None:
        """The keys and fields; None for a body that is wrong, or that only the ordinary route reads."""
        if b"\\" in content or any(content.count(part) != 1 for part in self._parts):
            return None
        if self._has_numbers and (_search_negative_zero(content) is not None or not has_plain_numbers(content)):
            return None
        try:
            return self._read(self._decode(content), content)
        except (msgspec.MsgspecError, TypeMismatch):
            return None

    def _read(self, body: Any, content: bytes) -> LookupBody | None:
        count = len(body.entities)
        if not count or any(content.count(name) != count for name in self._quoted) or (self._fields and len(body.request) != count):
            return None
        encoded: dict[tuple[str, ...], Sequence[bytes | None]] = {}
        for _, attributes in self._uses:
            if attributes not in encoded:
                encoded[attributes] = self._encode_keys(body.entities, attributes)
        fields = {name: _column(body.request, attribute, sql_type) for name, attribute, sql_type in self._fields}
        return LookupBody([(table, encoded[attributes]) for table, attributes in self._uses], fields, count)

    def _encode_keys(self, entities: Sequence[Any], attributes: Sequence[str]) -> Sequence[bytes | None]:
        columns = [_column(entities, attribute, self._key_types[attribute]) for attribute in attributes]
        if self._coerced.isdisjoint(attributes):
            return encode_plain_keys(columns)
        return [encode_key(parts) for parts in zip(*columns, strict=True)]


def _column(rows: Sequence[Any], attribute: str, sql_type: str) -> list[Any]:
    """The values of one attribute as the ordinary route has them. UUIDs are text. Raises: TypeMismatch."""
    values = [getattr(row, attribute) for row in rows]
    if sql_type == "UUID":
        return [None if value is None else str(value) for value in values]
    return [coerce(value, sql_type, attribute) for value in values] if type_name(sql_type) in _COERCED else values


def _struct(fields: Sequence[tuple[str, Any]]) -> type[msgspec.Struct]:
    """A type of objects with these fields, all of them required, and the attributes f0, f1, ... in this order."""
    attributes = [(f"f{index}", field_type) for index, (_, field_type) in enumerate(fields)]
    names = {f"f{index}": name for index, (name, _) in enumerate(fields)}
    return msgspec.defstruct("Row", attributes, rename=names, forbid_unknown_fields=True, gc=False)
